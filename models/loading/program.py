"""The process in which `models.loading.apart` reads a network or tries it out."""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from models.catalogue.cards import ModelCard, ModelDescription, Precision
from models.catalogue.weights import NetworkRefused, WeightsError
from models.files.untrusted_text import one_line
from models.loading.onnx.take_in import take_in

_STATM = Path("/proc/self/statm")
_BYTES_A_THREAD = 192 * 2**20  # of address space: a stack, and an arena of the allocator


def main() -> int:
    """Returns 0 if what standard input orders was done; otherwise it says why not, and returns 1.

    An order with a card is to try the model out; one with a description is to take a network in.
    """
    order: dict[str, Any] = json.load(sys.stdin)
    try:
        sys.stdout.write(_try(order) if "card" in order else _take_in(order))
    except MemoryError:
        return _refuse("it needs more memory than a network may take")
    except NetworkRefused as error:
        return _refuse(error.reason)
    except (ImportError, OSError, WeightsError, ValueError, RuntimeError) as error:
        return _refuse(one_line(error)[-300:].rstrip("."))
    return 0


def _try(order: dict[str, Any]) -> str:
    import torch  # large, and not needed for the other order

    from models.loading.loading import load_vlm
    from models.loading.trial import try_out
    from models.vlm._imports import get_openvino

    get_openvino()
    _bound(order["memory_bytes"])
    card = ModelCard.model_validate(order["card"])
    compiled: Precision | None = "int8" if card.precision["cpu"] == "int8" else None
    try_out(load_vlm(card, Path(order["folder"]), torch.device("cpu"), compiled=compiled))
    return ""


def _take_in(order: dict[str, Any]) -> str:
    """The names of the files beside the network that it needed, as JSON."""
    _bound(order["memory_bytes"])
    description = ModelDescription.model_validate(order["description"])
    beside = take_in(description, Path(order["path"]), Path(order["folder"]))
    return json.dumps([path.name for path in beside])


def _bound(memory_bytes: int) -> None:
    """Bounds the address space of this process, beside what it has taken so far."""
    taken = int(_STATM.read_text().split()[0]) * resource.getpagesize() if _STATM.exists() else 0
    most = taken + memory_bytes + _BYTES_A_THREAD * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(reason: str) -> int:
    sys.stdout.write(reason)
    return 1


if __name__ == "__main__":
    sys.exit(main())
