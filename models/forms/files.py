"""Finds and reads published files, which are untrusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor

from models.catalogue.weights import UnreadableWeights, parse_object
from models.forms.form import FormRefused
from models.loading.tensor_file import parse_pickle

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_MAX_CONFIG_BYTES = 2**20


def find_first(folder: Path, names: Sequence[str]) -> Path | None:
    """Returns the first of these files that exists."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def load_json(path: Path, max_bytes: int = _MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Returns the JSON object in a small file.

    Raises:
        UnreadableWeights: the file does not hold a JSON object, or is too large.
    """
    with path.open("rb") as stream:
        return parse_object(path.name, stream.read(max_bytes + 1))


def get_part(config: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Returns an object inside a JSON object, or an empty one if the key is missing.

    Args:
        name: the file's name, for the message.

    Raises:
        UnreadableWeights: the key's value is not an object.
    """
    part = config.get(key, {})
    if not isinstance(part, dict):
        raise UnreadableWeights(name, f"{key} must be an object, got {part!r:.40}")
    return part


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors in a file without running any code in it.

    Raises:
        UnreadableWeights: the file holds anything but named tensors, or is damaged or truncated.
    """
    if path.suffix != ".safetensors":
        return parse_pickle(path.name, path.read_bytes())
    try:
        return dict(load_safetensors(path))
    except (SafetensorError, ValueError) as error:
        raise UnreadableWeights(path.name, str(error)) from error


def require_weights(folder: Path, names: Sequence[str]) -> Path:
    """Returns the weights file in a folder.

    Raises:
        FormRefused: the folder has none of these names.
    """
    found = find_first(folder, names)
    if found is None:
        raise FormRefused(f"Expected weights in {folder}, as one of: {', '.join(names)}.")
    return found
