"""Are a model's weight files the ones its card names?

WeightsError
├── WeightsMissing     a file is not there
├── DigestMismatch     a file is there and is another one: its length or its SHA-256 differs
└── StateDictMismatch  the right file does not fit the architecture (raised by `models.loading`)
"""

import hashlib
from pathlib import Path

from models.cards import ModelCard, WeightFile


class WeightsError(Exception):
    """A model's weights cannot be used."""


class WeightsMissing(WeightsError):
    """A weight file is not where it is expected."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"The weight file {path.name} is missing; it is expected at {path}.")
        self.path = path


class DigestMismatch(WeightsError):
    """A weight file is not the one its card names."""

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        super().__init__(
            f"The weight file {path.name} at {path} is not the one the card names: "
            f"expected {expected}, found {found}."
        )
        self.path = path
        self.expected = expected
        self.found = found


class StateDictMismatch(WeightsError):
    """The tensors of a weight file are not those of the architecture."""

    def __init__(self, leaf: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"The tensor {leaf} does not fit the model: expected {expected}, found {found}."
        )
        self.leaf = leaf
        self.expected = expected
        self.found = found


def check_weights(card: ModelCard, folder: Path) -> None:
    """Passes when every file of the card lies in `folder` with the right length and SHA-256.

    Raises:
        WeightsMissing: a file is not there.
        DigestMismatch: a file's length or SHA-256 differs; nothing later is read.
    """
    for file in card.files:
        check_file(file, folder)


def check_file(file: WeightFile, folder: Path) -> None:
    """`check_weights` for one file."""
    path = folder / file.name
    check_size(file, folder)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise DigestMismatch(path, expected=f"SHA-256 {file.sha256}", found=f"SHA-256 {found}")


def check_size(file: WeightFile, folder: Path) -> None:
    """The quick half of `check_file`: presence and length, nothing read.

    Raises:
        WeightsMissing: the file is not there.
        DigestMismatch: its length differs.
    """
    path = folder / file.name
    if not path.is_file():
        raise WeightsMissing(path)
    found = path.stat().st_size
    if found != file.size_bytes:
        raise DigestMismatch(path, expected=f"{file.size_bytes} bytes", found=f"{found} bytes")
