"""Reads the tensors that torch saved as a pickle, without running any code in it.

A training program saves more than tensors: an epoch, an optimiser, a best accuracy as a number of
numpy. `_STAND_INS` are what the pickle's names for such a number lead to here. They hold nothing
and do nothing, so no function of numpy is called by a file.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from models.catalogue import weights

_TENSORS_OF_A_CHECKPOINT = "state_dict"  # where open_clip's and most training programs put them


class NumpyNumber:
    """What a numpy number in a pickle becomes: nothing. It takes any arguments and any state."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


_STAND_INS: list[Any] = [
    (NumpyNumber, name)
    for name in (
        "numpy.dtype",
        "numpy.core.multiarray.scalar",  # as numpy 1 names it
        "numpy._core.multiarray.scalar",  # as numpy 2 does
        "_codecs.encode",  # which wraps the number's bytes
    )
]


def parse_pickle(name: str, content: bytes) -> dict[str, Tensor]:
    """Returns the tensors in the content of a file.

    Raises:
        UnreadableWeights: the file holds anything but named tensors, or is damaged.
    """
    return _read(name, io.BytesIO(content))


def load_pickle(path: Path) -> dict[str, Tensor]:
    """Returns the tensors in a file, which stay on disk until they are used, if torch can do that.

    Of the checkpoint of a training program, they are those under `state_dict`.

    Raises:
        UnreadableWeights: the file holds anything but named tensors or such a checkpoint, or is
            damaged.
    """
    if zipfile.is_zipfile(path):
        return _read(path.name, path)
    with path.open("rb") as stream:  # as torch saved before 1.6
        return _read(path.name, stream)


def _read(name: str, source: Path | BinaryIO) -> dict[str, Tensor]:
    if _is_torch_script(source):
        raise weights.UnreadableWeights(
            name,
            "expected named tensors, got a TorchScript archive, which holds a program; no code in "
            "it was run. Load it where it was made and save its state_dict() with torch.save",
        )
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            loaded: Any = torch.load(
                source, map_location="cpu", weights_only=True, mmap=isinstance(source, Path)
            )
        found = dict(loaded)
        if isinstance(inner := found.get(_TENSORS_OF_A_CHECKPOINT), Mapping):
            found = dict(inner)
        return {str(leaf): _require_tensor(value) for leaf, value in found.items()}
    except pickle.UnpicklingError as error:  # torch's own message advises running the code in it
        reason = "it is damaged or holds something other than tensors; no code in it was run"
        raise weights.UnreadableWeights(name, reason) from error
    except TypeError as error:  # ours, and what dict says of a value that is no mapping
        raise weights.UnreadableWeights(name, str(error).splitlines()[0].rstrip(".")) from error
    except (RuntimeError, ValueError, EOFError, LookupError) as error:
        reason = "it is damaged or truncated, or torch did not save it"
        raise weights.UnreadableWeights(name, reason) from error


def _is_torch_script(source: Path | BinaryIO) -> bool:
    """Whether torch.jit.save wrote the file: a zip with constants beside its data."""
    try:
        names = zipfile.ZipFile(source).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    finally:
        if not isinstance(source, Path):
            source.seek(0)
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def _require_tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"expected named tensors, got {type(value).__name__}")
    return value
