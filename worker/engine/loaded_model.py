"""One model on the device: loaded, tested, warm and measured."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from models.cards import ModelCard
from models.loading import load_vlm
from models.trial import check_unit_length
from models.vlm import VLM
from worker.contract import Identity
from worker.engine.classifiers import Classifiers
from worker.engine.identity import create_identity
from worker.engine.memory import measure_memory


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that can vote, and all that is kept for it; when it goes, everything goes.

    `samples_per_s` is its speed at warm-up, None where it was not warmed up.
    """

    vlm: VLM
    identity: Identity
    classifiers: Classifiers
    memory_bytes: int
    samples_per_s: float | None = None


def load_model(card: ModelCard, folder: Path, device: torch.device) -> LoadedModel:
    """Loads a model, runs it at its batch shape, and looks at what it computes.

    No user's request is the first: kernels are chosen and compiled here.

    Raises:
        WeightsError: a file is missing or another one, or it does not fit the architecture.
        FeaturesUnusable: features are not finite or not of unit length.
    """
    vlm = load_vlm(card, folder, device)
    return hold_model(vlm, samples_per_s=warm_up(vlm))


def hold_model(vlm: VLM, *, samples_per_s: float | None = None) -> LoadedModel:
    """A model that is on its device already."""
    return LoadedModel(
        vlm=vlm,
        identity=create_identity(vlm),
        classifiers=Classifiers(vlm),
        memory_bytes=measure_memory(vlm),
        samples_per_s=samples_per_s,
    )


def warm_up(vlm: VLM) -> float:
    """Samples a second at the model's batch shape, in the second of two runs.

    Raises:
        FeaturesUnusable: features are not finite or not of unit length.
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
