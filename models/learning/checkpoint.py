"""Reads context vectors from files that torch saved: untrusted pickles, whose code never runs."""

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
from models.prompts.imported import ImportRefused, check_learner, check_shape, get_own_name

MAX_BYTES = 64 * 2**20
_TOKENS = ("token_prefix", "token_suffix")  # CoOp: (num_classes, tokens, width)
_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,100})")
# These convert to float32 exactly; float64 does not.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class _Inert:
    """Stands in for an object of the training program that is not needed; it only holds data."""


def _create_dict(*_: object) -> dict[object, object]:
    return {}


# The published few-shot checkpoints contain the scheduler after the warm-up as an object, and in it
# the optimiser. Their class names load as inert objects, so not even torch's own code runs.
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


def load_ctx(path: Path, *, num_classes: int | None = None) -> npt.NDArray[np.float32]:
    """Returns the context vectors in a file: a checkpoint, a bare tensor or our own safetensors.

    The format is detected from the file's content, not from its name.

    Args:
        path: the file.
        num_classes: for how many class names the vectors are meant, if known.

    Raises:
        ImportRefused: the file has none of these formats, is too large, holds anything else, or was
            learned for another number of classes.
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if zipfile.is_zipfile(io.BytesIO(content)) or content[:2] == b"PK":
        return parse_checkpoint(content, num_classes=num_classes)
    if content[:1] == b"\x80" and content[8:9] != b"{":
        raise ImportRefused(
            "Expected a file in torch's zip format; got a plain pickle. Load it where it was made "
            "and save it again with torch.save."
        )
    try:
        return parse_ctx(content)
    except UnreadableCtx as error:
        raise ImportRefused(
            f"Expected a checkpoint, a tensor or safetensors; read as safetensors, {error}."
        ) from error


def parse_checkpoint(content: bytes, *, num_classes: int | None = None) -> npt.NDArray[np.float32]:
    """Returns `['state_dict']['ctx']`, `['ctx']` or the tensor itself, as exact float32.

    Raises:
        ImportRefused: the file is too large or damaged, holds anything but tensors and plain
            values, has no `ctx`, has a `ctx` of another shape or number type, has more than a
            shared context, or was learned for another number of classes.
    """
    if len(content) > MAX_BYTES:
        raise ImportRefused(f"Expected at most {MAX_BYTES} bytes; the file is larger.")
    _check_records(content)
    ctx = _find_ctx(_load(content), num_classes)
    check_shape(ctx.shape)  # before converting, because a shape may claim more than there is
    if ctx.dtype not in _DTYPES or ctx.layout != torch.strided or ctx.device.type != "cpu":
        raise ImportRefused(
            f"Expected a dense tensor of float16, bfloat16 or float32; got {ctx.dtype}."
        )
    array: npt.NDArray[np.float32] = ctx.detach().to(torch.float32).contiguous().numpy()
    return array


def _check_records(content: bytes) -> None:
    """Refuses compressed records: torch stores none, and they could inflate to any size."""
    try:
        records = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _damaged() from None
    if any(r.compress_type != zipfile.ZIP_STORED for r in records):
        raise ImportRefused("Expected uncompressed records; got compressed ones.")
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
            f"Expected tensors and plain values; the file holds something else{what}. It is not "
            "loaded, because it could run code."
        ) from error
    except Exception as error:  # damaged pickles make torch's reader raise anything
        raise _damaged() from error


def _find_ctx(loaded: object, num_classes: int | None) -> Tensor:
    state = loaded
    if isinstance(state, Mapping) and "state_dict" in state:
        state = state["state_dict"]
    if isinstance(state, Mapping):
        learner = {get_own_name(str(name)): value for name, value in state.items()}
        check_learner(learner)
        _check_classes(learner, num_classes)
        state = learner.get("ctx", state)
    if not isinstance(state, Tensor):
        raise ImportRefused(
            "Expected a tensor, or a checkpoint with ['state_dict']['ctx']; "
            f"got {type(state).__name__}."
        )
    return state


def _check_classes(learner: Mapping[str, object], num_classes: int | None) -> None:
    """Compares the classes that CoOp keeps the tokens of with the class names."""
    for name in _TOKENS:
        tokens = learner.get(name)
        if not isinstance(tokens, Tensor) or tokens.dim() != 3 or num_classes is None:
            continue
        if len(tokens) != num_classes:
            raise ImportRefused(
                f"Expected as many class names as the checkpoint was learned for, {len(tokens)}; "
                f"got {num_classes}. Give them in its order."
            )


def _damaged() -> ImportRefused:
    return ImportRefused("Expected a file that torch saved; this one is damaged or truncated.")
