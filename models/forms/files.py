"""Finds and reads published files, which are untrusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor

from models.catalogue.cards import SourceForm
from models.catalogue.weights import UnreadableWeights, parse_object
from models.files.untrusted_text import quote
from models.forms.form import FormRefused, PublishedFiles
from models.loading.pickled import load_pickle

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
INDEX = ".index.json"
_MAX_CONFIG_BYTES = 2**20
_MAX_INDEX_BYTES = 16 * 2**20
_PREFIXES = ("module.", "_orig_mod.")


def find_first(folder: Path, names: Sequence[str]) -> Path | None:
    """Returns the first of these files that exists."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Returns the content of a file.

    Raises:
        FormRefused: the file is longer.
    """
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FormRefused(f"{path.name} is longer than {max_bytes} bytes.")
    return content


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
    """Returns the tensors in a file, or in the shards of an index, without running any code.

    Prefixes that training programs put before every name are taken off.

    Raises:
        UnreadableWeights: a file holds anything but named tensors, or is damaged or truncated.
        FormRefused: a shard is missing.
    """
    if not path.name.endswith(INDEX):
        return strip_prefixes(_load_file(path))
    tensors: dict[str, Tensor] = {}
    for shard in list_shards(path):
        found = _load_file(shard)
        if repeated := sorted(tensors.keys() & found.keys()):
            raise UnreadableWeights(
                shard.name, f"{quote(repeated[0])} is in another shard of the model too"
            )
        tensors |= found
    if missing := sorted(_read_index(path).keys() ^ tensors.keys()):
        raise UnreadableWeights(
            path.name, f"its shards and its list of tensors differ in {quote(missing[0])}"
        )
    return strip_prefixes(tensors)


def list_shards(path: Path) -> tuple[Path, ...]:
    """Returns the files that an index names, in order; of any other file, the file itself.

    Raises:
        UnreadableWeights: the index names something other than files beside it.
        FormRefused: a file is missing.
    """
    if not path.name.endswith(INDEX):
        return (path,)
    names = sorted(set(_read_index(path).values()))
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(WEIGHTS):
            raise UnreadableWeights(
                path.name, f"expected the names of weight files beside it, got {quote(name)}"
            )
        if not (path.parent / name).is_file():
            raise FormRefused(
                f"Expected {name}, which {path.name} names, in {path.parent}; it is missing."
            )
    return tuple(path.parent / name for name in names)


def _read_index(path: Path) -> dict[str, str]:
    """Returns the tensors of an index (`weight_map`) and the shard of each."""
    places = load_json(path, _MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UnreadableWeights(path.name, "weight_map must be an object with names of files")
    if not all(isinstance(name, str) for name in places.values()):
        raise UnreadableWeights(path.name, "weight_map must hold names of files")
    return places


def _load_file(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return load_pickle(path)
    try:
        return dict(load_safetensors(path))
    except (SafetensorError, ValueError) as error:
        raise UnreadableWeights(path.name, str(error)) from error


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors without a prefix that all names have.

    DataParallel and DistributedDataParallel put `module.` there, torch.compile `_orig_mod.`.
    """
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            return strip_prefixes(bare)
    return dict(tensors)


def is_bare(source: PublishedFiles, form: SourceForm) -> bool:
    """Whether a source is weights without a configuration, and its description names this form."""
    if source.published != form:
        return False
    if source.path.is_dir():
        return source.own_weights is not None and source.find(source.own_weights) is not None
    return source.path.suffix in WEIGHTS


def find_weights(source: PublishedFiles, names: Sequence[str]) -> Path:
    """Returns the weights: the file itself, or in a folder the one that the card names, or another.

    Raises:
        FormRefused: the folder has neither the one that the card names nor one of these names.
    """
    if not source.path.is_dir():
        return source.path
    return require_weights(source.path, [*filter(None, [source.own_weights]), *names])


def require_weights(folder: Path, names: Sequence[str]) -> Path:
    """Returns the weights file in a folder.

    Raises:
        FormRefused: the folder has none of these names.
    """
    found = find_first(folder, names)
    if found is None:
        raise FormRefused(f"Expected weights in {folder}, as one of: {', '.join(names)}.")
    return found
