"""Chooses the batch shape of a model on a device, by measurement.

Only a shape that keeps rows independent qualifies. The shape is part of f's identity: another one
moves logits and leads to other certificates.
"""

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from models.vlm.compiled import CompiledVLM
from models.vlm.denoised import DenoisedVLM
from models.vlm.vlm import VLM
from worker.contract import Contract

SHAPES = {"cpu": (16, 32, 48, 64, 96, 128), "cuda": (64, 128, 256, 512, 1024)}
_NEAR = 0.97  # of the best rate counts as equal: a smaller shape keeps small jobs waiting less


class BatchRate(Contract):
    """The measurement of one shape.

    Attributes:
        rows: the number of rows of a batch.
        samples_per_s: the median over rounds in which all shapes took turns.
        rows_apart: whether each row's features were bit-equal at other places and beside other
            rows.
    """

    rows: int
    samples_per_s: float
    rows_apart: bool


class BatchChoice(Contract):
    """All shapes tried, and the rows of the one to use; None if none keeps rows independent."""

    model: str
    device: str
    precision: str
    threads: int
    tried: tuple[BatchRate, ...]
    rows: int | None


def choose_rows(tried: Sequence[BatchRate]) -> int | None:
    """The smallest shape that is nearly the fastest of those that keep rows independent."""
    sound = [one for one in tried if one.rows_apart]
    if not sound:
        return None
    best = max(one.samples_per_s for one in sound)
    return min(one.rows for one in sound if one.samples_per_s >= _NEAR * best)


@torch.inference_mode()
def measure_shapes(
    vlm: VLM, shapes: Sequence[int], *, rounds: int, seconds: float
) -> tuple[BatchRate, ...]:
    """Measures f at every shape, in turns, for about `seconds` each time."""
    shaped = {rows: _shape(vlm, rows) for rows in shapes}
    batches = {rows: _sample_pixels(vlm, rows) for rows in shapes}
    apart = {rows: _keeps_rows_apart(shaped[rows], pixels) for rows, pixels in batches.items()}
    rates: dict[int, list[float]] = {rows: [] for rows in shapes}
    for _ in range(rounds):
        for rows, pixels in batches.items():
            rates[rows].append(_measure(shaped[rows], pixels, seconds))
    return tuple(
        BatchRate(rows=rows, samples_per_s=median(rates[rows]), rows_apart=apart[rows])
        for rows in shapes
    )


def _shape(vlm: VLM, rows: int) -> VLM:
    """The model for batches of this shape: torch takes any, and a compiled tower has one."""
    if isinstance(vlm, DenoisedVLM):
        return DenoisedVLM(_shape(vlm.base, rows), vlm.denoiser)
    if isinstance(vlm, CompiledVLM):
        return CompiledVLM(vlm.base, vlm.precision, rows=rows)
    return vlm


def _sample_pixels(vlm: VLM, rows: int) -> Tensor:
    """Random integers, also outside 0 .. 255, like noisy pixels."""
    size = vlm.card.preprocessing.size
    generator = torch.Generator().manual_seed(rows)
    shape = (rows, 3, size, size)
    pixels = torch.randint(-255, 511, shape, dtype=torch.int16, generator=generator)
    return pixels.to(vlm.device)


def _keeps_rows_apart(vlm: VLM, pixels: Tensor) -> bool:
    rows = len(pixels)
    features = vlm.encode_images(pixels).clone()
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    for order in (torch.arange(rows).roll(1), shuffled):
        place = order.to(pixels.device)
        if not torch.equal(vlm.encode_images(pixels[place]), features[place]):
            return False
    changed = pixels.clone()
    changed[rows // 2 :] = 0
    return torch.equal(vlm.encode_images(changed)[: rows // 2], features[: rows // 2])


def _measure(vlm: VLM, pixels: Tensor, seconds: float) -> float:
    done, began = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - began < seconds:
        vlm.encode_images(pixels).cpu()  # the copy waits for a GPU
        done += len(pixels)
    return done / (time.perf_counter() - began)
