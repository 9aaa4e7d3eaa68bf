"""A folder of images sent to a service: one file that goes wrong never ends the others."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli.certify_remotely import certify_folder
from app.client import ClientError, FolderItem


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
