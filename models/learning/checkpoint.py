"""Context vectors in files that torch saved: untrusted pickles, of which no code ever runs."""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.prompts.ctx_file import UnreadableCtx, parse_ctx
from models.prompts.imported import ImportRefused, check_shape

MAX_BYTES = 64 * 2**20
_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,100})")
# Exact in float32; float64 is not.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class _Inert:
    """Stands for an object of the training program that is not needed; holds data, does nothing."""


def _create_dict(*_: object) -> dict[object, object]:
    return {}


# The published few-shot checkpoints hold the scheduler after the warm-up as an object, and through
# it the optimiser. Their names are read as inert objects: not even torch's own code runs.
_STAND_INS: list[object] = [
    *(
        (_Inert, f"torch.optim.{name}")
        for name in (
            "lr_scheduler.CosineAnnealingLR",
            "lr_scheduler.MultiStepLR",
            "lr_scheduler.StepLR",
            "adam.Adam",
            "adamw.AdamW",
            "sgd.SGD",
        )
    ),
    (_create_dict, "collections.defaultdict"),
    (_create_dict, "builtins.dict"),
]


def load_ctx(path: Path) -> npt.NDArray[np.float32]:
    """The context vectors in a file: a checkpoint, a bare tensor, or our own safetensors.

    The content decides, not the name.

    Raises:
        ImportRefused: the file is none of these, is too large, or holds anything else.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if zipfile.is_zipfile(io.BytesIO(content)) or content[:2] == b"PK":
        return parse_checkpoint(content)
    if content[:1] == b"\x80" and content[8:9] != b"{":
        raise ImportRefused(
            "A file of torch's zip form was expected; a plain pickle came. Load it where it was "
            "made and save it again with torch.save."
        )
    try:
        return parse_ctx(content)
    except UnreadableCtx as error:
        raise ImportRefused(
            f"A checkpoint, a tensor or safetensors were expected; for safetensors, {error}."
        ) from error


def parse_checkpoint(content: bytes) -> npt.NDArray[np.float32]:
    """`['state_dict']['ctx']` of a checkpoint, `['ctx']`, or the tensor itself; float32, exactly.

    Raises:
        ImportRefused: too large, damaged, something else than tensors and plain values, no `ctx`,
            or a `ctx` of another shape or kind of number.
    """
    if len(content) > MAX_BYTES:
        raise ImportRefused(f"At most {MAX_BYTES} bytes were expected; the file has more.")
    _check_records(content)
    ctx = _find_ctx(_load(content))
    check_shape(ctx.shape)  # before anything is converted: a shape may claim what is not there
    if ctx.dtype not in _DTYPES or ctx.layout != torch.strided or ctx.device.type != "cpu":
        raise ImportRefused(
            f"A dense tensor of float16, bfloat16 or float32 was expected; {ctx.dtype} came."
        )
    array: npt.NDArray[np.float32] = ctx.detach().to(torch.float32).contiguous().numpy()
    return array


def _check_records(content: bytes) -> None:
    """torch stores its records as they are; packed ones could inflate to any size."""
    try:
        records = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _damaged() from None
    if any(r.compress_type != zipfile.ZIP_STORED for r in records):
        raise ImportRefused("Records stored as they are were expected; packed ones came.")
    if sum(r.file_size for r in records) > MAX_BYTES:
        raise _damaged()


def _load(content: bytes) -> object:
    try:
        with torch.serialization.safe_globals(_STAND_INS):  # type: ignore[arg-type]  # takes pairs
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        what = f": {found[1]}" if found else ""
        raise ImportRefused(
            f"Tensors and plain values were expected; the file holds something else{what}. It is "
            "not loaded, because it could run code."
        ) from error
    except Exception as error:  # a damaged pickle ends anywhere in torch's reader
        raise _damaged() from error


def _find_ctx(loaded: object) -> Tensor:
    for key in ("state_dict", "ctx"):
        if isinstance(loaded, Mapping) and key in loaded:
            loaded = loaded[key]
    if not isinstance(loaded, Tensor):
        raise ImportRefused(
            "A tensor, or a checkpoint with ['state_dict']['ctx'], was expected; "
            f"{type(loaded).__name__} came."
        )
    return loaded


def _damaged() -> ImportRefused:
    return ImportRefused("A file that torch saved was expected; this one is damaged or cut short.")
