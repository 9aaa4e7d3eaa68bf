"""Finding and reading published files, none of which is trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor

from models.catalogue.weights import UnreadableWeights
from models.files.untrusted_text import parse_json
from models.forms.form import FormRefused
from models.loading.tensor_file import parse_pickle

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_MAX_CONFIG_BYTES = 2**20


def find_first(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of some files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def load_json(path: Path, max_bytes: int = _MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        UnreadableWeights: it is no such thing.
    """
    try:
        with path.open("rb") as stream:
            value = parse_json(stream.read(max_bytes + 1))
    except ValueError as error:
        raise UnreadableWeights(path.name, f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableWeights(path.name, "a JSON object is expected")
    return value


def get_part(config: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """An object within a JSON object; an empty one where the key is not there.

    Args:
        name: of the file, for the sentence.

    Raises:
        UnreadableWeights: something else has this key.
    """
    part = config.get(key, {})
    if not isinstance(part, dict):
        raise UnreadableWeights(name, f"{key} is to be an object, and is {part!r:.40}")
    return part


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; no code in it is run.

    Raises:
        UnreadableWeights: it holds anything but tensors by name, or is damaged or cut short.
    """
    if path.suffix != ".safetensors":
        return parse_pickle(path.name, path.read_bytes())
    try:
        return dict(load_safetensors(path))
    except (SafetensorError, ValueError) as error:
        raise UnreadableWeights(path.name, str(error)) from error


def require_weights(folder: Path, names: Sequence[str]) -> Path:
    """The file of weights in a folder.

    Raises:
        FormRefused: none of the names is there.
    """
    found = find_first(folder, names)
    if found is None:
        raise FormRefused(f"{folder} holds no weights: one of {', '.join(names)} was expected.")
    return found
