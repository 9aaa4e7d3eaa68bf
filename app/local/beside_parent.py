"""A quantized model beside its parent, on labelled images: what int8 costs, and what it gains."""

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import torch

from app.local.engine import prepare_request
from app.local.prompts import LocalPrompts
from app.request.certify import CertifyFields, parse_fields
from models.catalogue.cards import ModelCard
from models.datasets.image_folder import ImageFolder
from models.vlm.vlm import VLM
from worker.contract import Contract
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.fingerprint import create_probe_batch
from worker.engine.shelf.identity import find_rows
from worker.engine.shelf.shelf import Shelf

N_MAX = 500
_ROUNDS = 5
_SECRET = b"models check: certificates that nobody keeps"


class Judged(Contract):
    """One of the two models.

    Attributes:
        certified_accuracy: for each noise level, the share of images certified with their own class
            at a radius above 0, after at most `N_MAX` samples.
        images_per_s: of the image tower, both models in turns.
    """

    model: str
    precision: str
    certified_accuracy: dict[str, float]
    images_per_s: float


class BesideParent(Contract):
    """Both models on the same images."""

    images: int
    quantized: Judged
    parent: Judged


def compare_with_parent(
    quantized: VLM, parent: VLM, images: ImageFolder, sigmas: Sequence[Decimal], *, count: int
) -> BesideParent:
    """Certifies the same images with both models, spread evenly over the folder.

    Raises:
        ValueError: the folder's classes and the model do not fit.
    """
    chosen = images.spread(count)
    speeds = _measure_speeds([quantized, parent])
    here, there = (
        _judge(vlm, images, chosen, sigmas, speed)
        for vlm, speed in zip((quantized, parent), speeds, strict=True)
    )
    return BesideParent(images=len(chosen), quantized=here, parent=there)


def _judge(
    vlm: VLM, images: ImageFolder, chosen: Sequence[int], sigmas: Sequence[Decimal], speed: float
) -> Judged:
    names = images.find_class_names() or images.class_folders
    fields = _create_fields(vlm.card, images, names, sigmas)
    counter = LocalCounter(Engine(Shelf.holding([vlm])))
    right = dict.fromkeys(map(str, sigmas), 0)
    for at in chosen:
        prompts = LocalPrompts(folder=None, tuned=Path("none"))  # a template needs none
        request, image = prepare_request(images.files[at].read_bytes(), vlm.card, fields, prompts)
        result = certify(Roll(request, _SECRET), image, counter=counter, records=Unrecorded())
        for one in result.certificates:
            own = names[images.classes[at]]
            right[str(one.sigma)] += one.outcome == "certified" and one.prediction == own
    return Judged(
        model=vlm.card.id,
        precision=str(getattr(vlm, "precision", vlm.card.precision["cpu"])),
        certified_accuracy={sigma: found / len(chosen) for sigma, found in right.items()},
        images_per_s=speed,
    )


def _create_fields(
    card: ModelCard, images: ImageFolder, names: Sequence[str], sigmas: Sequence[Decimal]
) -> CertifyFields:
    return parse_fields(
        {
            "sigma": list(map(str, sigmas)),
            "n_max": str(N_MAX),
            "template": images.card.prompt_template if images.card else card.template,
            "class_name": list(names),
        }
    )


@torch.inference_mode()
def _measure_speeds(vlms: Sequence[VLM]) -> list[float]:
    """Images a second of each image tower at its batch shape, the best of rounds in turns."""
    best = [0.0] * len(vlms)
    for _ in range(_ROUNDS):
        for at, vlm in enumerate(vlms):
            pixels = create_probe_batch(find_rows(vlm), vlm.card.preprocessing.size)
            began = time.perf_counter()
            vlm.encode_images(pixels)
            best[at] = max(best[at], len(pixels) / (time.perf_counter() - began))
    return best
