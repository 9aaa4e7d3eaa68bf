"""One model on the device: loaded, tested, warmed up and measured."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from models.catalogue.cards import ModelCard
from models.loading.loading import load_vlm
from models.loading.trial import check_unit_length
from models.vlm.vlm import VLM
from worker.contract import Identity
from worker.engine.runner.runner import NoisePlace, Runner, create_runner
from worker.engine.shelf.classifiers import Classifiers
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.memory import measure_memory


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that can vote, with everything kept for it. All of it leaves together.

    `batches_ahead` is the number of batches that the device computes while the host handles an
    older one. `samples_per_s` is the speed at warm-up; None if the model was not warmed up.
    """

    vlm: VLM
    identity: Identity
    classifiers: Classifiers
    runner: Runner
    memory_bytes: int
    batches_ahead: int = 0
    samples_per_s: float | None = None


def load_model(
    card: ModelCard, folder: Path, device: torch.device, noise: NoisePlace = "auto"
) -> LoadedModel:
    """Loads a model, runs it at its batch shape, and checks its features.

    Kernels are chosen and compiled here, so that no user's request waits for this.

    Raises:
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
        FeaturesUnusable: the features are not finite or not of unit length.
        DeviceNoiseMissing, NoiseMismatch: as `create_runner`.
    """
    vlm = load_vlm(card, folder, device)
    return hold_model(vlm, samples_per_s=warm_up(vlm), noise=noise)


def hold_model(
    vlm: VLM, *, samples_per_s: float | None = None, noise: NoisePlace = "auto"
) -> LoadedModel:
    """Wraps a model that is already on its device. Raises the errors of `create_runner`."""
    identity = create_identity(vlm)
    return LoadedModel(
        vlm=vlm,
        identity=identity,
        runner=create_runner(vlm, identity.batch_size, noise),
        classifiers=Classifiers(vlm),
        memory_bytes=measure_memory(vlm),
        batches_ahead=1 if vlm.device.type == "cuda" else 0,
        samples_per_s=samples_per_s,
    )


def warm_up(vlm: VLM) -> float:
    """Samples per second at the model's batch shape, in the second of two runs.

    Raises:
        FeaturesUnusable: the features are not finite or not of unit length.
    """
    size, rows = vlm.card.preprocessing.size, create_identity(vlm).batch_size
    pixels = torch.zeros((rows, 3, size, size), dtype=torch.int16, device=vlm.device)
    with torch.inference_mode():
        features = vlm.encode_images(pixels).cpu()
        started = time.perf_counter()
        vlm.encode_images(pixels).cpu()
    seconds = time.perf_counter() - started
    check_unit_length(vlm, features, "a black image")
    return rows / seconds
