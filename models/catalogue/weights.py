"""Checks that a model's weight files are the ones its card names.

WeightsError
├── WeightsMissing     a file is missing
├── DigestMismatch     a file is present, but its length or its SHA-256 differs
├── UnreadableWeights  the right file, but its content does not have the expected form
├── ConfigMismatch     the configuration file contradicts the card or names an unknown part
├── StateDictMismatch  the tensors do not fit the architecture
└── NetworkRefused     an ONNX network is not a classifier that a certificate can be about
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.catalogue.cards import ModelCard, WeightFile
from models.files.untrusted_text import parse_json


class WeightsError(Exception):
    """A model's weights cannot be used."""


class WeightsMissing(WeightsError):
    """A weight file is not where it should be."""

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


class UnreadableWeights(WeightsError):
    """A weight file is the one the card names but cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The weight file {name} cannot be read: {reason}.")


class ConfigMismatch(WeightsError):
    """The model's configuration file contradicts its card or open_clip."""

    def __init__(self, key: str, *, expected: str, found: str) -> None:
        super().__init__(f"The configuration's {key}: expected {expected}, found {found}.")


def require_equal(values: Mapping[str, tuple[object, object]]) -> None:
    """Passes if what is expected of a configuration is what it says; both by the value's name.

    Raises:
        ConfigMismatch: they differ.
    """
    for key, (expected, found) in values.items():
        if expected != found:
            raise ConfigMismatch(key, expected=str(expected), found=str(found))


class StateDictMismatch(WeightsError):
    """The tensors of a weight file do not fit the architecture."""

    def __init__(self, leaf: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"The tensor {leaf} does not fit the model: expected {expected}, found {found}."
        )


class NetworkRefused(WeightsError):
    """A network is not one that a certificate can be about."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The network cannot be used: {reason}.")
        self.reason = reason


def check_weights(card: ModelCard, folder: Path) -> None:
    """Passes if every file of the card is in `folder` with the right length and SHA-256.

    Raises:
        WeightsMissing: a file is missing.
        DigestMismatch: a file's length or SHA-256 differs; the files after it are not read.
    """
    for file in card.files:
        check_file(file, folder)


def check_file(file: WeightFile, folder: Path) -> None:
    """`check_weights` for one file."""
    check_size(file, folder)
    with (folder / file.name).open("rb") as stream:
        check_digest(file, folder, hashlib.file_digest(stream, "sha256").hexdigest())


def load_file(file: WeightFile, folder: Path) -> bytes:
    """Returns the content of a file; the bytes returned are the bytes that were checked.

    Raises:
        WeightsMissing: the file is missing.
        DigestMismatch: its length or SHA-256 differs.
    """
    check_size(file, folder)
    content = (folder / file.name).read_bytes()
    check_digest(file, folder, hashlib.sha256(content).hexdigest())
    return content


def parse_object(name: str, content: bytes) -> dict[str, Any]:
    """Returns the JSON object in the file called `name`.

    Raises:
        UnreadableWeights: the content is not a JSON object.
    """
    try:
        value = parse_json(content)
    except ValueError as error:
        raise UnreadableWeights(name, str(error)) from error
    if not isinstance(value, dict):
        raise UnreadableWeights(name, f"expected an object, got {value!r:.40}")
    return value


def check_size(file: WeightFile, folder: Path) -> None:
    """Does the quick half of `check_file`: presence and length, without reading the file.

    Raises:
        WeightsMissing: the file is missing.
        DigestMismatch: its length differs.
    """
    path = folder / file.name
    if not path.is_file():
        raise WeightsMissing(path)
    found = path.stat().st_size
    if found != file.size_bytes:
        raise DigestMismatch(path, expected=f"{file.size_bytes} bytes", found=f"{found} bytes")


def check_digest(file: WeightFile, folder: Path, found: str) -> None:
    """Passes if `found` is the SHA-256 that the card states for the file.

    Raises:
        DigestMismatch: the digests differ.
    """
    if found != file.sha256:
        raise DigestMismatch(
            folder / file.name, expected=f"SHA-256 {file.sha256}", found=f"SHA-256 {found}"
        )
