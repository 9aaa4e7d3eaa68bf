"""A frozen run, to be changed, and its dossier."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from app.dossier.gather import DossierOptions
from worker.evaluation.dossier.document import Dossier
from worker.evaluation.dossier.signed import parse_sealed

SAMPLE = Path(__file__).parent / "sample"
WRITTEN = date(2026, 11, 30)
COMMITMENT = "abe89273d51507df0d1a8dcd3ca823dca18ec6c1394ed06ee6d7b661612e0ea2"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The frozen run, to be changed."""
    return Path(shutil.copytree(SAMPLE / "run", tmp_path / "run"))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    shutil.copy(SAMPLE / "secret", folder / COMMITMENT)
    return folder


@pytest.fixture
def sealed() -> dict[str, Any]:
    return parse_sealed((SAMPLE / "dossier.json").read_bytes())


@pytest.fixture
def frozen(sealed: dict[str, Any]) -> Dossier:
    return Dossier.model_validate_json(json.dumps(sealed["dossier"]))


def ask(run: Path, tmp_path: Path, *, data: Path | None = SAMPLE / "data") -> DossierOptions:
    return DossierOptions(run=run, data=data, data_dir=tmp_path / "data-dir", written=WRITTEN)


def read_pages(pdf: bytes) -> list[str]:
    return [page.get_textpage().get_text_bounded() for page in pypdfium2.PdfDocument(pdf)]


def read_text(pdf: bytes) -> str:
    return " ".join(" ".join(read_pages(pdf)).split())
