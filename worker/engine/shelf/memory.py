"""The memory a model takes on its device, in bytes: estimated before loading, measured after."""

import math
import resource
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.catalogue.cards import DeviceClass, ModelCard, Precision
from models.loading.memory_growth import find_packing
from models.vlm.compiled import CompiledVLM
from models.vlm.denoised import DenoisedVLM
from models.vlm.vlm import VLM

_WHOLE = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}
_WHOLE |= {"I8": 1, "U8": 1, "BOOL": 1}

_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "int8": 0}  # int8: in a file of its own
_IMAGE_TOWERS = ("visual.", "visual_head.", "vision_model.")  # as any family names its own


def measure_memory(vlm: VLM) -> int:
    """Bytes of a model's parameters, buffers and compiled weights. Shared ones count once.

    Weights that were put aside into a file do not count, because memory need not hold them.
    """
    storages = {
        storage.data_ptr(): storage.nbytes()
        for storage in (tensor.untyped_storage() for tensor in _list_held(vlm))
    }
    return sum(storages.values()) + find_packing(vlm)


def measure_device_memory(device: torch.device) -> int:
    """Bytes that this process holds on a GPU; on a CPU, its resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return 0
    return pages * resource.getpagesize()


def _list_held(vlm: VLM) -> Iterator[Tensor]:
    if isinstance(vlm, DenoisedVLM | CompiledVLM):
        yield from _list_held(vlm.base)
    for part in vars(vlm).values():
        if isinstance(part, torch.nn.Module):
            yield from part.parameters()
            yield from part.buffers()
        elif isinstance(part, Tensor):
            yield part


def expect_memory(
    card: ModelCard, folder: Path, device_class: DeviceClass, *, precision: Precision | None = None
) -> int:
    """Bytes that a model will take, from the names and shapes in its files. Reads no tensor.

    Floats are held in float32, those of the image tower in its precision. A file without a
    table of tensors, or with a damaged one, counts with its length; loading reports the damage.

    Args:
        card, folder: the model and its files.
        device_class: the kind of device.
        precision: that of the image tower; None takes the card's.
    """
    own = card.precision[device_class]
    tower = _BYTES[own if own == "int8" else precision or own]
    return sum(
        _expect(folder / file.name, file.size_bytes, tower)
        for file in card.files
        if file.holds_tensors
    )


def _expect(path: Path, size_bytes: int, tower: int) -> int:
    if path.suffix != ".safetensors":
        return size_bytes
    try:
        with safe_open(path, framework="pt") as file:
            tables = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118
            return sum(
                math.prod(table.get_shape()) * _item_bytes(name, table.get_dtype(), tower)
                for name, table in tables
            )
    except (SafetensorError, OSError):
        return size_bytes


def _item_bytes(name: str, dtype: str, tower: int) -> int:
    return _WHOLE.get(dtype, tower if name.startswith(_IMAGE_TOWERS) else 4)
