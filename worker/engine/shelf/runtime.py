"""What computes a model's image tower on a CPU, and whether it may count there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch

from models.catalogue.cards import ModelCard, Precision
from models.loading.loading import load_vlm
from models.log import get_logger
from models.vlm.compiled import KERNELS, CannotCompile
from models.vlm.vlm import VLM
from worker.contract import Contract
from worker.engine.shelf.row_test import check_compiled
from worker.settings import WorkerSettings

log = get_logger(__name__)


class CpuRuntime(Contract):
    """What computes image towers on a CPU. On a GPU it says nothing.

    Attributes:
        name: `openvino`, `torch`, or `auto`: OpenVINO where it can serve the model.
        precision: what OpenVINO computes in; None: the card's precision.
        aside: the folder for torch's weights, which wait there in a file without a name while
            OpenVINO uses its own copy; None: the system's folder for temporary files.
    """

    name: Literal["auto", "openvino", "torch"]
    precision: Precision | None = None
    aside: Path | None = None


TORCH = CpuRuntime(name="torch")


def read_runtime(settings: WorkerSettings) -> CpuRuntime:
    """The runtime that the settings name."""
    chosen, folder = settings.cpu_precision, settings.data_dir
    return CpuRuntime(
        name=settings.cpu_runtime,
        precision=None if chosen == "card" else chosen,
        aside=folder if folder.is_dir() else None,
    )


def find_runtime(precision: str, versions: Mapping[str, str]) -> CpuRuntime:
    """The runtime that computed what an identity or a document's provenance describes."""
    if not versions.get("kernels", "").startswith(KERNELS):
        return TORCH
    return CpuRuntime.model_validate({"name": "openvino", "precision": precision})


def load_served(
    card: ModelCard,
    folder: Path,
    device: torch.device,
    runtime: CpuRuntime,
    load: Callable[..., VLM] = load_vlm,
) -> VLM:
    """Loads a model with the image tower that votes are counted with.

    A compiled tower is tested before it may count. A quantized model is always computed in int8.
    `auto` loads torch's tower where OpenVINO cannot serve another model in the card's precision,
    and logs why; the identity names what runs. The linear toy has no tower and is computed by
    torch. An ONNX network is computed by OpenVINO, whatever the runtime.

    Raises:
        CannotCompile: OpenVINO cannot serve the model as the runtime asks, or the test failed; or
            a quantized model is to be computed by torch or on a GPU.
        ValueError: torch is asked for another precision than the card's.
        WeightsError: as `load_vlm`.
    """
    own = card.precision["cpu"]
    if own == "int8" and (device.type != "cpu" or runtime.name == "torch"):
        raise CannotCompile("a quantized model is computed on a CPU and by OpenVINO alone")
    if card.architecture == "onnx":
        network = load(card, folder, device, compiled=runtime.precision or own)
        check_compiled(network)
        return network
    if device.type != "cpu" or card.architecture == "linear":
        return load(card, folder, device)
    if runtime.name == "torch":
        _require_own(own, runtime.precision)
        return load(card, folder, device)
    try:
        precision = own if own == "int8" else runtime.precision or own
        vlm = load(card, folder, device, compiled=precision, aside=runtime.aside)
        check_compiled(vlm)
    except CannotCompile as error:
        if own == "int8" or runtime.name == "openvino" or runtime.precision not in (None, own):
            raise
        log.warning("openvino_not_used", model=card.id, reason=str(error))
        return load(card, folder, device)
    return vlm


def _require_own(own: Precision, wanted: Precision | None) -> None:
    if wanted not in (None, own):
        raise ValueError(
            f"torch computes in the card's precision, {own}; PROMPTSMOOTH_CPU_PRECISION is "
            f"{wanted}, which needs PROMPTSMOOTH_CPU_RUNTIME=openvino"
        )
