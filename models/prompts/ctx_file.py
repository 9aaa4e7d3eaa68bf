"""Reads and writes context vectors as a safetensors file with one tensor, `ctx`, using only numpy.

A safetensors file is a length, a JSON header and the values, so the HTTP side needs neither torch
nor safetensors for it. The bytes written equal those of `safetensors.numpy.save`.
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
    """The bytes are not a safetensors file with one tensor, `ctx`."""


def write_ctx(ctx: npt.NDArray[np.float32], suffix: str | None = None) -> bytes:
    """Returns the file for float32 `ctx`, (n_ctx, width), with the suffix, if any, as metadata."""
    data = ctx.astype("<f4").tobytes()
    entry = {"dtype": "F32", "shape": list(ctx.shape), "data_offsets": [0, len(data)]}
    said = {} if suffix is None else {"__metadata__": {"suffix": suffix}}
    document = {**said, "ctx": entry}
    header = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # the values are aligned to 8 bytes
    return len(header).to_bytes(8, "little") + header + data


def parse_ctx(content: bytes) -> npt.NDArray[np.float32]:
    """Returns the tensor `ctx` of any shape; float16 is converted to float32, which is exact.

    Raises:
        UnreadableCtx: the file is too long or truncated, has no header, or has other tensors.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCtx(f"expected at most {MAX_BYTES} bytes, got {len(content)}")
    entry, data = _parse_header(content)
    dtype, shape = _DTYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None:
        raise UnreadableCtx("expected ctx of dtype F32 or F16, got another dtype")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise UnreadableCtx("the shape of ctx must be a list of whole numbers, got something else")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if entry.get("data_offsets") != [0, expected] or len(data) != expected:
        raise UnreadableCtx(
            f"expected {expected} bytes of values for the shape {tuple(shape)}, got {len(data)}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.float32)


def find_suffix(content: bytes) -> str | None:
    """Returns the words after the class name, if the file's metadata has them."""
    said = _load_header(content).get("__metadata__")
    suffix = said.get("suffix") if isinstance(said, dict) else None
    return suffix if isinstance(suffix, str) else None


def _parse_header(content: bytes) -> tuple[Mapping[str, Any], bytes]:
    """Returns the header's entry for the only tensor, and the bytes after the header."""
    header = _load_header(content)
    tensors = set(header) - {"__metadata__"}
    if tensors != {"ctx"} or not isinstance(header["ctx"], dict):
        raise UnreadableCtx(f"expected one tensor named ctx, got {len(tensors)} tensors")
    return header["ctx"], content[_end(content) :]


def _end(content: bytes) -> int:
    """Returns the position where the header ends."""
    return 8 + int.from_bytes(content[:8], "little")


def _load_header(content: bytes) -> dict[str, Any]:
    end = _end(content)
    if len(content) < 8 or end > min(len(content), 8 + _MAX_HEADER):
        raise UnreadableCtx("it is not a safetensors file, or is truncated")
    try:
        header = parse_json(content[8:end])
    except (ValueError, RecursionError):
        raise UnreadableCtx("its header is not JSON, so it is not a safetensors file") from None
    if not isinstance(header, dict):
        raise UnreadableCtx("expected one tensor named ctx, got 0 tensors")
    return header
