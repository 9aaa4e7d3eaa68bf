"""Loads a file of tensors into a model, checked and without a second copy of the model in memory.

A safetensors file is the header's length (8 bytes), the header in JSON, and the tensors one after
another (https://github.com/huggingface/safetensors, "Format"). It is read once from front to back.
Each piece is hashed and copied to its place. So the bytes that were hashed are the bytes that are
used, and only one tensor at a time is held twice.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor

from models.catalogue import weights
from models.catalogue.cards import WeightFile
from models.files.untrusted_text import parse_json
from models.loading.pickled import parse_pickle
from models.loading.state_dict import check_state_dict

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
_Module = TypeVar("_Module", bound=torch.nn.Module)


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class _Leaf:
    """One tensor of the file, as the header describes it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    def describe(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


def load_into(targets: Mapping[str, Tensor], file: WeightFile, folder: Path) -> None:
    """Copies the tensors of a file into `targets`, converted to their precision and device.

    `targets` comes from `module.state_dict()`. After an error its values are undefined, so the
    model must be thrown away.

    Raises:
        WeightsMissing, DigestMismatch: the file is not the one the card names.
        UnreadableWeights: the file is the right one but holds no tensors.
        StateDictMismatch: its tensors are not those of `targets`.
    """
    if file.name.endswith(".safetensors"):
        _stream_into(targets, file, folder)
    else:
        _unpickle_into(targets, file, folder)


def create_fitting(
    create: Callable[[], _Module],
    file: WeightFile,
    folder: Path,
    get_state: Callable[[_Module], Mapping[str, Tensor]] = torch.nn.Module.state_dict,
) -> _Module:
    """Returns what `create` creates, once the file's tensors are known to be those it asks for.

    A configuration can ask for any memory. So the module is created without any first, on the
    device `meta`, and its state compared with the header of a safetensors file.

    Raises:
        WeightsError: as `load_into`; the digest may be compared later, by `load_into`.
    """
    if file.name.endswith(".safetensors"):
        with torch.device("meta"):
            wanted = get_state(create())
        weights.check_size(file, folder)
        with (folder / file.name).open("rb") as stream:
            _read_leaves(wanted, file, folder, stream, hashlib.sha256())
    return create()


def _unpickle_into(targets: Mapping[str, Tensor], file: WeightFile, folder: Path) -> None:
    tensors = parse_pickle(file.name, weights.load_file(file, folder))
    check_state_dict(targets, tensors)
    for name in list(tensors):
        targets[name].copy_(tensors.pop(name))


def _stream_into(targets: Mapping[str, Tensor], file: WeightFile, folder: Path) -> None:
    weights.check_size(file, folder)
    digest = hashlib.sha256()
    with (folder / file.name).open("rb") as stream:
        for leaf in _read_leaves(targets, file, folder, stream, digest):
            _read_leaf(leaf, stream, digest, targets[leaf.name])
    weights.check_digest(file, folder, digest.hexdigest())


def _read_leaves(
    targets: Mapping[str, Tensor], file: WeightFile, folder: Path, stream: BinaryIO, digest: _Hash
) -> list[_Leaf]:
    """The tensors of a file in its order, which must be those of `targets`."""
    try:
        leaves = _read_header(stream, digest, file.size_bytes)
        check_state_dict(targets, {leaf.name: leaf.describe() for leaf in leaves})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        _give_up(file, folder, weights.UnreadableWeights(file.name, str(error)))
    except weights.StateDictMismatch as error:
        _give_up(file, folder, error)
    return leaves


def _give_up(file: WeightFile, folder: Path, error: Exception) -> NoReturn:
    """Raises the error, unless the file is the wrong one, which is the better explanation."""
    weights.check_file(file, folder)
    raise error


def _read_header(stream: BinaryIO, digest: _Hash, size_bytes: int) -> list[_Leaf]:
    """Returns the tensors in file order; raises ValueError or the like if there is no header."""
    first = stream.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(_MAX_HEADER_BYTES, size_bytes - 8):
        raise ValueError("its header is longer than the file")
    text = stream.read(length)
    digest.update(first)
    digest.update(text)
    fields = {name: f for name, f in parse_json(text).items() if name != "__metadata__"}
    leaves = sorted((_parse_leaf(name, f) for name, f in fields.items()), key=lambda leaf: leaf.end)
    _check_contiguous(leaves, size_bytes - 8 - length)
    return leaves


def _parse_leaf(name: str, fields: Mapping[str, Any]) -> _Leaf:
    begin, end = map(_require_length, fields["data_offsets"])
    shape = tuple(map(_require_length, fields["shape"]))
    dtype = _DTYPES[fields["dtype"]]
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"the tensor {name} has {end - begin} bytes, which does not fit its shape")
    return _Leaf(name=name, dtype=dtype, shape=shape, begin=begin, end=end)


def _require_length(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.40} is not a length")
    return value


def _check_contiguous(leaves: list[_Leaf], size_bytes: int) -> None:
    at = 0
    for leaf in leaves:
        if leaf.begin != at:
            raise ValueError(f"the tensor {leaf.name} does not follow the one before it")
        at = leaf.end
    if at != size_bytes:
        raise ValueError(f"its tensors have {at} bytes, but the file holds {size_bytes}")


def _read_leaf(leaf: _Leaf, stream: BinaryIO, digest: _Hash, target: Tensor) -> None:
    content = bytearray(leaf.end - leaf.begin)
    read = stream.readinto(content)  # type: ignore[attr-defined]  # every binary file has it
    digest.update(memoryview(content)[:read])
    if content:
        values = torch.frombuffer(content, dtype=leaf.dtype).reshape(leaf.shape)
        target.copy_(values)
