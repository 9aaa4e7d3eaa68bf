"""Measures how much memory loading a model takes, compared with the size of its weights."""

import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from models.vlm.compiled import CompiledVLM
from models.vlm.denoised import DenoisedVLM, find_compiled
from models.vlm.vlm import VLM

_STATUS = Path("/proc/self/status")
_UNBACKED = re.compile(r"^(?:RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)
Loaded = TypeVar("Loaded", bound=VLM)


class Growth(BaseModel):
    """Bytes that loading added: allocated memory on a GPU, memory that no file backs on a CPU.

    The system drops pages that a file backs when memory is short, and reads them again when they
    are used: those of libraries, and of weights that were put aside.

    `weights_bytes` is the size of the weights in the precision in which they are kept.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["measured"] = "measured"
    growth_bytes: int
    weights_bytes: int

    @property
    def ratio(self) -> float:
        """Memory divided by the size of the weights."""
        return self.growth_bytes / self.weights_bytes


class Unmeasured(BaseModel):
    """This system does not report the memory of a process."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["unmeasured"] = "unmeasured"
    weights_bytes: int


def measure_growth(
    load: Callable[[], Loaded], device: torch.device
) -> tuple[Loaded, Growth | Unmeasured]:
    """Loads a model and measures its memory; import what loading imports beforehand."""
    before = _read(device)
    vlm = load()
    after = _read(device)
    weights_bytes = sum(tensor.nbytes for tensor in list_weights(vlm)) + find_packing(vlm)
    if before is None or after is None:
        return vlm, Unmeasured(weights_bytes=weights_bytes)
    return vlm, Growth(growth_bytes=after - before, weights_bytes=weights_bytes)


def find_packing(vlm: VLM) -> int:
    """Bytes that compiled weights take, less those of the tensors that make room for them."""
    compiled = find_compiled(vlm)
    return 0 if compiled is None else compiled.packed_bytes - compiled.aside_bytes


def list_weights(vlm: VLM) -> list[Tensor]:
    """Returns the tensors of a model, each once, in memory or aside."""
    found = {tensor.data_ptr(): tensor for tensor in _list_stored(vlm)}
    return list(found.values())


def _list_stored(vlm: VLM) -> Iterator[Tensor]:
    if isinstance(vlm, CompiledVLM | DenoisedVLM):
        yield from _list_stored(vlm.base)
    for value in vars(vlm).values():
        if isinstance(value, Tensor):
            yield value
        if isinstance(value, torch.nn.Module):
            yield from value.state_dict().values()


def _read(device: torch.device) -> int | None:
    gc.collect()
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    found = _UNBACKED.findall(_STATUS.read_text()) if _STATUS.is_file() else []
    return sum(1024 * int(kilobytes) for kilobytes in found) if found else None
