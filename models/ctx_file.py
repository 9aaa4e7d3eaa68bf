"""Context vectors as a safetensors file with one tensor, `ctx`. Needs no package but numpy.

The container is a length, a header in JSON and the values, so the HTTP side reads and writes it
without torch and without safetensors; what is written is what `safetensors.numpy.save` writes.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.prompt import MAX_N_CTX, MAX_WIDTH

_DTYPES = {"F32": "<f4", "F16": "<f2"}
_MAX_HEADER = 1 << 16
MAX_BYTES = 4 * MAX_N_CTX * MAX_WIDTH + _MAX_HEADER


class UnreadableCtx(ValueError):
    """Bytes that are no safetensors file with one tensor `ctx`."""


def write_ctx(ctx: npt.NDArray[np.float32]) -> bytes:
    """The file that holds float32 `ctx`, (n_ctx, width)."""
    data = ctx.astype("<f4").tobytes()
    entry = {"dtype": "F32", "shape": list(ctx.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"ctx": entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the values are aligned to 8 bytes
    return len(header).to_bytes(8, "little") + header + data


def parse_ctx(content: bytes) -> npt.NDArray[np.float32]:
    """The tensor `ctx` of a file, of any shape; float16 becomes float32, which is exact.

    Raises:
        UnreadableCtx: too long, cut short, no header, or other tensors than `ctx`.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCtx(f"at most {MAX_BYTES} bytes were expected, {len(content)} came")
    entry, data = _parse_header(content)
    dtype, shape = _DTYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None:
        raise UnreadableCtx("ctx of dtype F32 or F16 was expected, another came")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise UnreadableCtx("the shape of ctx is a list of whole numbers; something else came")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if entry.get("data_offsets") != [0, expected] or len(data) != expected:
        raise UnreadableCtx(
            f"{expected} bytes of values were expected for the shape {tuple(shape)}, "
            f"{len(data)} came"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.float32)


def _parse_header(content: bytes) -> tuple[Mapping[str, Any], bytes]:
    """What the header says of the only tensor, and the bytes after it."""
    end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or end > min(len(content), 8 + _MAX_HEADER):
        raise UnreadableCtx("it is no safetensors file, or it is cut short")
    try:
        header = json.loads(content[8:end])
    except (ValueError, RecursionError):
        raise UnreadableCtx("its header is no JSON, so it is no safetensors file") from None
    tensors = set(header) - {"__metadata__"} if isinstance(header, dict) else set()
    if tensors != {"ctx"} or not isinstance(header["ctx"], dict):
        raise UnreadableCtx(f"one tensor named ctx was expected, {len(tensors)} tensors came")
    return header["ctx"], content[end:]
