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

from models.files.untrusted_text import parse_json
from models.prompts.prompt import MAX_N_CTX, MAX_WIDTH

_DTYPES = {"F32": "<f4", "F16": "<f2"}
_MAX_HEADER = 1 << 16
MAX_BYTES = 4 * MAX_N_CTX * MAX_WIDTH + _MAX_HEADER


class UnreadableCtx(ValueError):
    """Bytes that are no safetensors file with one tensor `ctx`."""


def write_ctx(ctx: npt.NDArray[np.float32], suffix: str | None = None) -> bytes:
    """The file that holds float32 `ctx`, (n_ctx, width), and in its metadata the suffix, if any."""
    data = ctx.astype("<f4").tobytes()
    entry = {"dtype": "F32", "shape": list(ctx.shape), "data_offsets": [0, len(data)]}
    said = {} if suffix is None else {"__metadata__": {"suffix": suffix}}
    document = {**said, "ctx": entry}
    header = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
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


def find_suffix(content: bytes) -> str | None:
    """The words after the class name, where a file's metadata says them."""
    said = _load_header(content).get("__metadata__")
    suffix = said.get("suffix") if isinstance(said, dict) else None
    return suffix if isinstance(suffix, str) else None


def _parse_header(content: bytes) -> tuple[Mapping[str, Any], bytes]:
    """What the header says of the only tensor, and the bytes after it."""
    header = _load_header(content)
    tensors = set(header) - {"__metadata__"}
    if tensors != {"ctx"} or not isinstance(header["ctx"], dict):
        raise UnreadableCtx(f"one tensor named ctx was expected, {len(tensors)} tensors came")
    return header["ctx"], content[_end(content) :]


def _end(content: bytes) -> int:
    """Where the header ends."""
    return 8 + int.from_bytes(content[:8], "little")


def _load_header(content: bytes) -> dict[str, Any]:
    end = _end(content)
    if len(content) < 8 or end > min(len(content), 8 + _MAX_HEADER):
        raise UnreadableCtx("it is no safetensors file, or it is cut short")
    try:
        header = parse_json(content[8:end])
    except (ValueError, RecursionError):
        raise UnreadableCtx("its header is no JSON, so it is no safetensors file") from None
    if not isinstance(header, dict):
        raise UnreadableCtx("one tensor named ctx was expected, 0 tensors came")
    return header
