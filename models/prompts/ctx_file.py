"""Reads and writes context vectors as a safetensors file with one tensor, `ctx`. No torch."""

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.files.untrusted_text import parse_strict
from models.prompts.imported import find_learner, get_own_name
from models.prompts.prompt import MAX_N_CTX, MAX_WIDTH

_MAX_HEADER = 1 << 16
MAX_BYTES = 4 * MAX_N_CTX * MAX_WIDTH + _MAX_HEADER


class UnreadableCtx(ValueError):
    """Bytes that are no safetensors file with one tensor `ctx`."""


def write_ctx(ctx: npt.NDArray[np.float32], suffix: str | None = None) -> bytes:
    """Returns the file for float32 `ctx`, (n_ctx, width), with the suffix, if any, as metadata."""
    metadata = None if suffix is None else {"suffix": suffix}
    return save({"ctx": np.asarray(ctx, dtype=np.float32, order="C")}, metadata)


def parse_ctx(content: bytes) -> npt.NDArray[np.float32]:
    """Returns the tensor `ctx` of any shape; float16 is converted to float32, which is exact.

    Raises:
        UnreadableCtx: the file is too long, damaged or truncated, or has other tensors.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCtx(f"expected at most {MAX_BYTES} bytes, got {len(content)}")
    if _header_size(content) > _MAX_HEADER:
        raise UnreadableCtx(
            f"it is not a safetensors file, or its header is over {_MAX_HEADER} bytes"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError):  # ValueError: a shape that numpy cannot have
        raise UnreadableCtx("it is not a safetensors file, or it is damaged or truncated") from None
    except KeyError:  # a dtype that numpy lacks, bfloat16 for one
        raise UnreadableCtx("expected ctx of dtype F32 or F16, got another dtype") from None
    if (learner := find_learner([*map(get_own_name, tensors)])) is not None:
        raise UnreadableCtx(f"it is a checkpoint of {learner}")
    if set(tensors) != {"ctx"}:
        raise UnreadableCtx(
            f"expected one tensor named ctx, got {len(tensors)} tensors, of which "
            f"{'one is' if 'ctx' in tensors else 'none is'} named ctx"
        )
    if tensors["ctx"].dtype not in (np.float32, np.float16):
        raise UnreadableCtx("expected ctx of dtype F32 or F16, got another dtype")
    return tensors["ctx"].astype(np.float32)


def find_suffix(content: bytes) -> str | None:
    """Returns the words after the class name that the metadata of an accepted file holds, if any.

    Raises:
        UnreadableCtx: readers would disagree about the header, because a name stands in it twice.
    """
    try:
        header = parse_strict(content[8 : 8 + _header_size(content)])
    except ValueError as error:
        raise UnreadableCtx(f"its header is ambiguous: {error}") from None
    metadata: dict[str, str] = header.get("__metadata__") or {}
    return metadata.get("suffix")


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")
