"""A folder of images sent to a service: one file that goes wrong never ends the others."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.certify_remotely import certify_folder
from app.client import Certification, ClientError, FolderItem


class Refusing:
    """A service that has a sentence for each file."""

    def certify_folder(self, paths: tuple[Path, ...], **_: Any) -> Iterator[FolderItem]:
        for path in paths:
            yield FolderItem(path=path, error=ClientError("=it is no image"))


def test_names_that_are_no_text_or_a_formula_end_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    names = [b"\xff\xfe.png", b"=1+1.dcm", "Röntgen.dcm".encode(), b"line\nbreak.png", b"a.png"]
    for name in (*names, b"Thumbs.db", b"README", b"README.txt", b"desktop.ini"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
    images, finished = certify_folder(Refusing(), folder, {}, tmp_path / "out", quiet=True)  # type: ignore[arg-type]
    assert (images, finished) == (len(names), 0)
    text = (tmp_path / "out" / "certificates.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["why_not"] for row in rows] == ["'=it is no image"] * len(names)
    found = {row["file"] for row in rows}
    assert {"'=1+1.dcm", "Röntgen.dcm", "a.png", "\\udcff\\udcfe.png"} <= found


class Ending(Refusing):
    """A service whose client is ended after the first file."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self.seen = ""

    def certify_folder(self, paths: tuple[Path, ...], **_: Any) -> Iterator[FolderItem]:
        yield from super().certify_folder(paths[:1])
        self.seen = self._table.read_text()
        raise KeyboardInterrupt


def test_the_rows_of_an_image_are_in_the_table_before_the_next_one_ends(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    service = Ending(tmp_path / "out/certificates.csv")
    with pytest.raises(KeyboardInterrupt):
        certify_folder(service, tmp_path, {}, tmp_path / "out", quiet=True)  # type: ignore[arg-type]
    assert "it is no image" in service.seen


class Answering:
    """A service that sends the same document for each file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._found = Certification.parse(json.dumps(document).encode())

    def certify_folder(self, paths: tuple[Path, ...], **_: Any) -> Iterator[FolderItem]:
        for path in paths:
            yield FolderItem(path=path, certification=self._found)


def test_the_table_says_for_each_certificate_whether_it_reaches_the_goal(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    one = {"sigma": 0.25, "prompting": "template", "outcome": "abstained", "statement": "None."}
    document = {"id": "0", "status": "finished", "certificates": [one, one], "reference": "=7"}
    for goal, words in (({"reached": [True, False]}, ["yes", "not shown"]), (None, ["", ""])):
        service = Answering(document if goal is None else {**document, "goal": goal})
        certify_folder(service, tmp_path, {}, tmp_path / "out", quiet=True)  # type: ignore[arg-type]
        text = (tmp_path / "out" / "certificates.csv").read_text()
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
        assert {row["reference"] for row in rows} == {"'=7"}
        assert [row["reaches_goal"] for row in rows] == words
