"""One model examined in this process: what `promptsmooth models check` does."""

import contextlib
import io
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from app.local.beside_parent import BesideParent, compare_with_parent
from app.local.engine import prepare_request
from app.local.prompts import LocalPrompts
from app.request.certify import parse_fields
from models.catalogue.cards import Activation, ModelCard
from models.catalogue.texts import create_text
from models.catalogue.weights import check_weights
from models.datasets.image_folder import ImageFolder
from models.loading.activation import OTHER, swapped_activation
from models.loading.memory_growth import Growth, Unmeasured, list_weights, measure_growth
from models.loading.trial import try_out
from models.vlm._imports import get_open_clip
from models.vlm.base_classifier import create_base_classifier
from models.vlm.compiled import CannotCompile, CompiledVLM, load_openvino
from models.vlm.onnx_classifier import OnnxClassifier
from models.vlm.open_clip import OpenClipVLM
from models.vlm.vlm import VLM
from worker.contract import Contract
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.measure.eta import create_synthetic_images
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import check_noise
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.runtime import TORCH, CpuRuntime, load_served
from worker.engine.shelf.shelf import Shelf

_SECRET = b"models check: certificates that nobody keeps"
_SIGMA = "0.25"
_N_MAX = "64"
_TIMED_S = 2.0
_IMAGES_AT_A_TIME = 16
_COMPARED = 100  # images that a quantized model and its parent certify
InstalledModel = tuple[ModelCard, Path]


class ActivationReport(Contract):
    """The same weights under the card's activation and under the other one.

    Attributes:
        images_moved, texts_moved: the largest distance between features of unit length under both;
            0: none, 2: opposite. Of synthetic images, and of the card's classes.
    """

    declared: Activation
    other: Activation
    images_moved: float
    texts_moved: float


class Accuracy(Contract):
    """Share of labelled images that the model's template gets right without noise."""

    images: int
    declared: float
    other: float | None


class SpeedReport(Contract):
    """How fast the image tower is at the card's batch shape."""

    batch_size: int
    load_s: float
    warm_up_s: float
    images_per_s: float


class CertificationReport(Contract):
    """One certification of a synthetic image: it shows that certifying works, not how well."""

    sigma: Decimal
    outcome: str
    samples: int
    seconds: float


class CheckReport(Contract):
    """The result of one check. It exists only if digests, names and shapes were right."""

    model: str
    sha256: str
    weights_sha256: str
    device: str
    precision: str
    tau: float | None
    threads: int
    tensors: int
    parameters: int
    memory: Growth | Unmeasured
    activation: ActivationReport | None
    accuracy: Accuracy | None
    beside_parent: BesideParent | None = None
    speed: SpeedReport
    certification: CertificationReport


def check_model(
    card: ModelCard,
    folder: Path,
    *,
    device: str,
    threads: int,
    runtime: CpuRuntime = TORCH,
    images: ImageFolder | None = None,
    parent: InstalledModel | None = None,
) -> CheckReport:
    """Loads a model as an engine does, and measures it.

    Args:
        card, folder: the model.
        device: auto, cpu or cuda.
        threads: CPU threads; 0: one for each core.
        runtime: what computes the image tower on a CPU. The activations are compared by torch.
        images: labelled images to count the model's accuracy on, under both activations.
        parent: what a quantized model is compared with on these images, if it is one.

    Raises:
        WeightsError: a file is missing or another one, or does not fit the architecture.
        CannotCompile: as `load_served`.
        ValueError: the device is missing, or images and classes do not fit.
    """
    set_threads(threads)
    check_noise()
    check_weights(card, folder)
    chosen = choose_device(device)
    _load_libraries(runtime)
    began = time.monotonic()
    vlm, memory = measure_growth(lambda: load_served(card, folder, chosen, runtime), chosen)
    load_s = time.monotonic() - began
    identity = create_identity(vlm)
    try_out(vlm)
    by_torch = vlm.base if isinstance(vlm, CompiledVLM) and card.has_texts else vlm
    beside = None
    if images is not None and parent is not None:
        beside = _compare_with(parent, vlm, images, chosen, runtime)
    tensors, parameters = _count_weights(vlm)
    return CheckReport(
        model=card.id,
        sha256=card.sha256,
        weights_sha256=card.weights_sha256,
        device=identity.device,
        precision=identity.precision,
        tau=identity.tau,
        threads=torch.get_num_threads(),
        tensors=tensors,
        parameters=parameters,
        memory=memory,
        speed=_measure_speed(vlm, identity.batch_size, load_s),
        activation=_compare_activations(by_torch),
        accuracy=_count_accuracy(vlm, by_torch, images) if images is not None else None,
        beside_parent=beside,
        certification=_certify(vlm),
    )


def _load_libraries(runtime: CpuRuntime) -> None:
    """Imports what loading imports, so that it is not counted as the model's memory."""
    get_open_clip()
    if runtime.name != "torch":
        with contextlib.suppress(CannotCompile):  # `load_served` says what follows from it
            load_openvino()


def _count_weights(vlm: VLM) -> tuple[int, int]:
    """How many tensors the weights are, and how many numbers are in them."""
    if isinstance(vlm, CompiledVLM) and isinstance(vlm.base, OnnxClassifier):
        return len(vlm.base.constants), sum(vlm.base.constants)
    weights = list_weights(vlm)
    return len(weights), sum(tensor.numel() for tensor in weights)


def _measure_speed(vlm: VLM, batch_size: int, load_s: float) -> SpeedReport:
    size = vlm.card.preprocessing.size
    pixels = _stack(create_synthetic_images(size), batch_size, vlm.device)
    began = time.monotonic()
    _run(vlm, pixels)
    warm_up_s = time.monotonic() - began
    batches, began = 0, time.monotonic()
    while batches == 0 or time.monotonic() - began < _TIMED_S:
        _run(vlm, pixels)
        batches += 1
    rate = batches * batch_size / (time.monotonic() - began)
    return SpeedReport(batch_size=batch_size, load_s=load_s, warm_up_s=warm_up_s, images_per_s=rate)


def _run(vlm: VLM, pixels: torch.Tensor) -> torch.Tensor:
    return vlm.encode_images(pixels).cpu()  # which waits for a GPU


def _stack(
    images: Sequence[npt.NDArray[np.uint8]], count: int, device: torch.device
) -> torch.Tensor:
    """`count` rows that cycle through the images, int16 (count, 3, size, size)."""
    rows = np.stack([images[i % len(images)] for i in range(count)]).astype(np.int16)
    return torch.from_numpy(rows).to(device)


def _compare_activations(vlm: VLM) -> ActivationReport | None:
    """None if the card pins no activation, or the towers are not those of open_clip."""
    declared = vlm.card.activation
    if declared is None or not isinstance(vlm, OpenClipVLM):
        return None
    images = create_synthetic_images(vlm.card.preprocessing.size)
    pixels = _stack(images, len(images), vlm.device)
    texts = [create_text(vlm.card.template, name) for name in vlm.card.class_names]
    here = vlm.encode_images(pixels), vlm.encode_texts(texts)
    with swapped_activation(vlm.clip, declared):
        there = vlm.encode_images(pixels), vlm.encode_texts(texts)
    seen, read = (float((a - b).norm(dim=-1).max()) for a, b in zip(here, there, strict=True))
    return ActivationReport(
        declared=declared, other=OTHER[declared], images_moved=seen, texts_moved=read
    )


def _compare_with(
    parent: InstalledModel,
    vlm: VLM,
    images: ImageFolder,
    device: torch.device,
    runtime: CpuRuntime,
) -> BesideParent:
    card, folder = parent
    made = vlm.card.quantization
    if made is None or card.sha256 != made.parent_sha256:
        raise ValueError(f"{card.id} is not the model that {vlm.card.id} was made from")
    sigmas = [Decimal(str(sigma)) for sigma in made.sigmas[:2]]
    other = load_served(card, folder, device, runtime)
    return compare_with_parent(vlm, other, images, sigmas, count=_COMPARED)


def _count_accuracy(vlm: VLM, by_torch: VLM, images: ImageFolder) -> Accuracy:
    """That of the model as it serves; under the other activation, that of torch's tower."""
    declared = vlm.card.activation
    right = _count_right(vlm, images)
    other = None
    if declared is not None and isinstance(by_torch, OpenClipVLM):
        with swapped_activation(by_torch.clip, declared):
            other = _count_right(by_torch, images) / len(images.files)
    total = len(images.files)
    return Accuracy(images=total, declared=right / total, other=other)


def _count_right(vlm: VLM, images: ImageFolder) -> int:
    card = images.card if vlm.card.has_texts else None
    template = card.prompt_template if card else vlm.card.template
    names = images.find_class_names() or images.class_folders
    classifier = create_base_classifier(vlm, template, names)
    right = 0
    for start in range(0, len(images.files), _IMAGES_AT_A_TIME):
        rows = range(start, min(start + _IMAGES_AT_A_TIME, len(images.files)))
        pixels = images.load(rows, vlm.card.preprocessing)
        logits = classifier(torch.from_numpy(pixels.astype(np.int16)).to(vlm.device))
        found = logits.argmax(dim=-1).cpu().numpy()
        right += int((found == images.classes[list(rows)]).sum())
    return right


def _certify(vlm: VLM) -> CertificationReport:
    began = time.monotonic()
    request, prepared = prepare_request(
        _encode(create_synthetic_images(vlm.card.preprocessing.size)[1]),
        vlm.card,
        parse_fields({"sigma": [_SIGMA], "n_max": _N_MAX}),
        LocalPrompts(folder=None, tuned=Path("none")),  # a template needs none
    )
    counter = LocalCounter(Engine(Shelf.holding([vlm])))
    roll = Roll(request, _SECRET)
    result = certify(roll, prepared, counter=counter, records=Unrecorded())
    certificate = result.certificates[0]
    return CertificationReport(
        sigma=Decimal(_SIGMA),
        outcome=certificate.outcome,
        samples=certificate.n_used,
        seconds=time.monotonic() - began,
    )


def _encode(image: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
