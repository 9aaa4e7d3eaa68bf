"""The constants of a network: their data must be there, and be as long as their shape says."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePath

from onnx import ModelProto, TensorProto

from models.catalogue.weights import NetworkRefused
from models.files.untrusted_text import quote

MAX_BYTES = 2**31 - 1
"""The longest network: a protocol buffer, which is what ONNX is, can be no longer."""

_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.BOOL: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
}
_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_OTHERS = "int32_data"  # holds the narrower types, one number an entry


def check_tensors(model: ModelProto) -> None:
    """Passes if every constant is in the file itself and has the length that its shape asks for.

    Raises:
        NetworkRefused: names the first that does not.
    """
    if model.graph.sparse_initializer:
        raise NetworkRefused("it has sparse constants, which are not taken")
    for tensor in list_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise NetworkRefused(f"the data of {quote(tensor.name)} is not in the file")
        _check_length(tensor)


def list_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """The tensors of the graph: initializers, and those in attributes of its nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise NetworkRefused("it has sparse constants, which are not taken")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def take_in_external(model: ModelProto, folder: Path) -> tuple[Path, ...]:
    """Moves data that lies in files beside the network into it; returns those files.

    Raises:
        NetworkRefused: a file is not in the network's own folder, is too short, or all of it
            together is too long.
    """
    read: dict[Path, None] = {}
    total = 0
    for tensor in list_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        length = _find_length(tensor)
        total += length
        if total > MAX_BYTES:
            raise NetworkRefused("with its external data it is longer than 2 GB")
        path, offset = _locate(tensor, folder)
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(length)
        if len(content) != length:
            raise NetworkRefused(
                f"the data of {quote(tensor.name)} ends beyond the end of {quote(path.name)}"
            )
        tensor.raw_data = content
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
        read[path] = None
    return tuple(read)


def is_constant_false(tensor: TensorProto) -> bool:
    """Whether a constant holds nothing but zeros, in whatever field."""
    stored = (tensor.raw_data, tensor.int32_data, tensor.int64_data, tensor.float_data)
    return not any(any(values) for values in stored)


def _locate(tensor: TensorProto, folder: Path) -> tuple[Path, int]:
    """The file and the place in it of a tensor's data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    path = folder / PurePath(name).name
    plain = name and PurePath(name).name == name and "\\" not in name
    if not plain or path.is_symlink() or not path.is_file():
        raise NetworkRefused(
            f"the data of {quote(tensor.name)} must be in a file of the network's own folder, "
            f"found {quote(name)}"
        )
    written = entries.get("offset", "0")
    if not (written.isascii() and written.isdigit() and len(written) < 19):
        raise NetworkRefused(f"the offset of {quote(tensor.name)} is not a place in a file")
    return path, int(written)


def _find_length(tensor: TensorProto) -> int:
    """The bytes that a tensor's type and shape ask for."""
    if tensor.data_type not in _BITS:
        raise NetworkRefused(
            f"the constant {quote(tensor.name)} has a type that is not taken "
            f"({TensorProto.DataType.Name(tensor.data_type)})"
            if tensor.data_type in TensorProto.DataType.values()
            else f"the constant {quote(tensor.name)} has a type that ONNX does not know"
        )
    if any(side < 0 for side in tensor.dims):
        raise NetworkRefused(f"the constant {quote(tensor.name)} has a negative side")
    count: int = math.prod(tensor.dims)
    return count * _BITS[tensor.data_type] // 8


def _check_length(tensor: TensorProto) -> None:
    length = _find_length(tensor)
    if tensor.HasField("segment"):
        raise NetworkRefused(f"the constant {quote(tensor.name)} comes in segments")
    field = _FIELDS.get(tensor.data_type, _OTHERS)
    entries = len(getattr(tensor, field))
    found = len(tensor.raw_data) if tensor.raw_data else entries * _BITS[tensor.data_type] // 8
    if found != length:
        raise NetworkRefused(
            f"the constant {quote(tensor.name)} holds {found} bytes, and its shape asks for "
            f"{length}"
        )
