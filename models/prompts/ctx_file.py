"""Context vectors as a safetensors file with one tensor, `ctx`. No torch."""

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.files.untrusted_text import parse_strict
from models.prompts.prompt import MAX_N_CTX, MAX_WIDTH

_MAX_HEADER = 1 << 16
MAX_BYTES = 4 * MAX_N_CTX * MAX_WIDTH + _MAX_HEADER


class UnreadableCtx(ValueError):
    """Bytes that are no safetensors file with one tensor `ctx`."""


def write_ctx(ctx: npt.NDArray[np.float32], suffix: str | None = None) -> bytes:
    """The file that holds float32 `ctx`, (n_ctx, width), and in its metadata the suffix, if any."""
    metadata = None if suffix is None else {"suffix": suffix}
    return save({"ctx": np.asarray(ctx, dtype=np.float32, order="C")}, metadata)


def parse_ctx(content: bytes) -> npt.NDArray[np.float32]:
    """The tensor `ctx` of a file, of any shape; float16 becomes float32, which is exact.

    Raises:
        UnreadableCtx: too long, damaged, cut short, or other tensors than `ctx`.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCtx(f"at most {MAX_BYTES} bytes were expected, {len(content)} came")
    if _header_size(content) > _MAX_HEADER:
        raise UnreadableCtx(f"it is no safetensors file, or its header is over {_MAX_HEADER} bytes")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError):  # ValueError: a shape that numpy cannot have
        raise UnreadableCtx("it is no safetensors file, or it is damaged or cut short") from None
    except KeyError:  # a dtype that numpy lacks, bfloat16 for one
        raise UnreadableCtx("ctx of dtype F32 or F16 was expected, another came") from None
    if set(tensors) != {"ctx"}:
        raise UnreadableCtx(f"one tensor named ctx was expected, {len(tensors)} tensors came")
    if tensors["ctx"].dtype not in (np.float32, np.float16):
        raise UnreadableCtx("ctx of dtype F32 or F16 was expected, another came")
    return tensors["ctx"].astype(np.float32)


def find_suffix(content: bytes) -> str | None:
    """The words after the class name that the metadata says, of a file that `parse_ctx` accepts.

    Raises:
        UnreadableCtx: the header is JSON that readers disagree about, as with a name twice.
    """
    try:
        header = parse_strict(content[8 : 8 + _header_size(content)])
    except ValueError as error:
        raise UnreadableCtx(f"its header is ambiguous: {error}") from None
    metadata: dict[str, str] = header.get("__metadata__") or {}
    return metadata.get("suffix")


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")
