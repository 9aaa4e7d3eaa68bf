"""Objects, rules and spools of a node."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

from pydicom import dcmread
from pydicom.data import get_testdata_file

from app.dicom.rules import Rules
from app.dicom.spool import Spool

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a real CT slice with these elements changed; the file."""
    (tmp_path / "sent").mkdir()

    def make(name: str = "a", **elements: object) -> Path:
        dataset = dcmread(get_testdata_file("CT_small.dcm"))
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = tmp_path / "sent" / f"{name}.dcm"
        dataset.save_as(path)
        return path

    return make


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", most_bytes=200_000)
    yield spool
    spool.close()


def create_rules(*rules: dict[str, object], **fields: object) -> Rules:
    """Rules whose results go to a PACS that is never asked."""
    base = {"name": "ct", "request": {"sigma": ["0.25"], "n_max": 200}, "send_to": ["pacs"]}
    return Rules.model_validate(
        {
            "destinations": {"pacs": {"kind": "stow", "url": "http://127.0.0.1:9/dicom-web"}},
            "rules": [{**base, **rule} for rule in rules or ({},)],
            **fields,
        }
    )
