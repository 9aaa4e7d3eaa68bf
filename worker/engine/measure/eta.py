"""Measures eta, how far the logits of one f move between runs under any prompt, and derives tau.

Within one identity (model, precision, device, batch shape) the same integers should give the same
logits. Where they do not, a vote near a tie depends on the run. A sample is therefore ambiguous if
its top two logits are closer than tau >= 2 eta (CERTIFICATE 4).

A logit is s <f, t>, where s is the logit scale, and the image features f and text features t have
unit length. Between runs that give f, t and f', t', a logit moves by at most

    s (|f - f'| + |t - t'| + rounding)

whatever the prompt and its classes (Cauchy-Schwarz). The l2 distances of features are therefore
measured, rather than the logits of one prompt, and one tau serves all prompts.

`rounding` is what a sum of D products in float32 adds. It is 0 if no feature moves, because equal
numbers are summed in one fixed order. Otherwise it is (D + `_SLACK`) float32 epsilons: twice the
bound D u / (1 - D u) on the relative error of a sum, with u = epsilon / 2, and room for the product
with s and for features whose length is 1 to within a few u.

Eta is measured, not proved: on these images, at these noise levels, and for |t - t'| on the texts
of the card's own prompt, which stand for all others. `MARGIN` makes up for what was not tried.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from models.vlm.base_classifier import BaseClassifier
from models.vlm.vlm import VLM
from worker.contract import Contract, Identity
from worker.contract.image import Image
from worker.engine.shelf.identity import create_identity, find_rows
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import create_noise_table
from worker.sampling.words import NoiseKey

MARGIN = 2.0
SIGMAS = tuple(map(Decimal, ("0.1", "0.25", "0.5", "1.0")))
_KEY = NoiseKey(0x657461, 0)  # may be public: no certificate uses this noise
_REPEATS = 2
_SLACK = 8
_FLOAT32_EPSILON = 2.0**-23


class Variation(StrEnum):
    """What changes between two runs of the same rows."""

    REPEAT = "repeat"
    """Nothing: the same batch runs again."""
    ORDER = "order"
    """The rows are at other places in the batch."""
    PADDING = "padding"
    """The other rows are zeros, copies of one row, or noise."""
    NEIGHBOURS = "neighbours"
    """The other rows are noisy images of another batch."""
    RESTART = "restart"
    """A newly started process runs the batch."""
    DEVICE = "device"
    """Another device of the same name runs the batch."""
    FINGERPRINT = "fingerprint"
    """A host whose f has another fingerprint ran the batch."""


class NotMeasurable(ValueError):
    """No number bounds the difference between runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyBatch:
    """A full batch of noisy integer images, int16 (B, 3, H, W), at one noise level."""

    sigma: Decimal
    pixels: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """The output of f for a batch, on the CPU: float32 features (B, D) and logits (B, C)."""

    image_features: Tensor
    logits: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Elsewhere:
    """The output of f for whole batches in another place, with its text features (C, D) there."""

    text_features: Tensor
    outputs: Sequence[Output]


Run = Callable[[Tensor], Output]
"""Runs f on a batch of int16 (B, 3, H, W)."""

Rerun = Callable[[Sequence[Tensor]], Elsewhere]
"""Runs whole batches, unchanged, in another place."""


class EtaReport(Contract):
    """The measurements on one f. Distances of features are in logits: multiplied by the scale.

    Attributes:
        identity: the identity of f. Its tau is the card's at the time, not the one measured here.
        differences: for each variation, the largest distance of a row's image features from those
            of the first run. Variations that were not tried are absent.
        text_difference: the largest distance of a text's features between two processes or
            devices.
        rounding: what float32 sums add; 0 if nothing moved.
        eta: the largest distance of a row's image features between any two runs, plus
            `text_difference` and `rounding`. No logit of any prompt moved further.
        margin: `MARGIN`.
        tau: 2 x eta x margin; 0 if all runs were bit-equal.
        samples: the number of noisy images measured.
        covered: the fingerprints of f here and on the hosts whose output was compared; tau covers
            what differs between any two of them.
        ambiguous: for each sigma, the share of those images that would be ambiguous at this tau
            under the card's own prompt.
    """

    identity: Identity
    differences: dict[Variation, float]
    text_difference: float
    rounding: float
    eta: float
    margin: float
    tau: float
    samples: int
    ambiguous: dict[str, float]
    covered: tuple[str, ...] = ()


def create_synthetic_images(size: int) -> tuple[Image, ...]:
    """Flat, graded and textured images, uint8 (3, size, size); the same for every call."""
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    texture = np.random.default_rng(0).integers(0, 256, (3, size, size)).astype(np.uint8)
    flat = [np.full((3, size, size), level, dtype=np.uint8) for level in (0, 127, 255)]
    graded = np.ascontiguousarray(np.broadcast_to(ramp, (3, size, size)))
    return (graded, texture, *flat)


def sample_batches(
    images: Sequence[Image], *, batch_size: int, each: int, sigmas: Sequence[Decimal] = SIGMAS
) -> tuple[NoisyBatch, ...]:
    """`each` full batches at every noise level, with rows taken from the images in turn."""
    return tuple(
        NoisyBatch(
            sigma=sigma, pixels=_sample_batch(images, sigma, batch_size, start=i * batch_size)
        )
        for sigma in sigmas
        for i in range(each)
    )


def _sample_batch(images: Sequence[Image], sigma: Decimal, rows: int, *, start: int) -> Tensor:
    table = create_noise_table(sigma)
    out = np.empty((rows, images[0].size), dtype=np.int16)
    for row in range(rows):  # if images outnumber rows, the next batch continues with the rest
        image = images[(start + row) % len(images)]
        sample_noisy_images(image, _KEY, table, start=start + row, out=out[row : row + 1])
    return torch.from_numpy(out).reshape(rows, *images[0].shape)


def create_run(classifier: BaseClassifier) -> Run:
    """A function that runs f as the engine does: a whole batch on the classifier's device."""

    def run(pixels: Tensor) -> Output:
        with torch.inference_mode():
            features = classifier.vlm.encode_images(pixels.to(classifier.vlm.device))  # (B, D)
            logits = classifier.logits(features)  # (B, C)
            return Output(image_features=features.cpu(), logits=logits.cpu())

    return run


def run_all(classifier: BaseClassifier, batches: Iterable[Tensor]) -> Elsewhere:
    """The output of f for whole batches, int16 (B, 3, H, W) each, on the classifier's device."""
    return Elsewhere(
        text_features=classifier.text_features.cpu(),
        outputs=list(map(create_run(classifier), batches)),
    )


def measure_eta(
    classifier: BaseClassifier,
    batches: Sequence[NoisyBatch],
    reruns: Mapping[Variation, Sequence[Rerun]],
) -> EtaReport:
    """Runs every batch under every variation and compares all features of all runs.

    Args:
        classifier: f, loaded as the engine loads it.
        batches: at least two batches of the card's batch shape.
        reruns: other places in which to run the batches unchanged, by variation.

    Raises:
        NotMeasurable: a number is finite in one run but not in another.
        ValueError: there are fewer than two batches, or a batch has another shape.
    """
    _require_shapes(batches, find_rows(classifier.vlm))
    run = create_run(classifier)
    spreads = [_Spread(run(batch.pixels)) for batch in batches]
    for i, spread in enumerate(spreads):
        other = batches[(i + 1) % len(batches)]
        for varied in _vary(batches[i].pixels, other.pixels):
            spread.widen(varied.variation, run(varied.pixels), varied.rows, varied.first_rows)
    texts = [classifier.text_features.cpu()]
    for variation, places in reruns.items():
        for rerun in places:
            elsewhere = rerun([batch.pixels for batch in batches])
            texts.append(elsewhere.text_features)
            for spread, output in zip(spreads, elsewhere.outputs, strict=True):
                rows = torch.arange(len(output.logits))
                spread.widen(variation, output, rows, rows)
    return _report(classifier.vlm, batches, spreads, texts)


def _require_shapes(batches: Sequence[NoisyBatch], batch_size: int) -> None:
    if len(batches) < 2:
        raise ValueError(f"at least two batches are needed, got {len(batches)}")
    for batch in batches:
        if len(batch.pixels) != batch_size:
            raise ValueError(f"a batch must have {batch_size} rows, got {len(batch.pixels)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Varied:
    """A changed batch. Its row `rows[i]` is row `first_rows[i]` of the original batch."""

    variation: Variation
    pixels: Tensor
    rows: Tensor
    first_rows: Tensor


def _vary(pixels: Tensor, other: Tensor) -> Iterator[_Varied]:
    everything = torch.arange(len(pixels))
    for _ in range(_REPEATS):
        yield _Varied(
            variation=Variation.REPEAT, pixels=pixels, rows=everything, first_rows=everything
        )
    for order in _orders(len(pixels)):
        yield _Varied(
            variation=Variation.ORDER, pixels=pixels[order], rows=everything, first_rows=order
        )
    for kept in (everything[:1], everything[len(pixels) // 2 :]):
        for filler in _fillers(pixels):
            yield _keep(Variation.PADDING, pixels, filler, kept)
    for kept in (everything[::2], everything[1::2]):
        yield _keep(Variation.NEIGHBOURS, pixels, other, kept)


def _orders(rows: int) -> tuple[Tensor, ...]:
    """The rows reversed, with their halves swapped, and shuffled."""
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    return torch.arange(rows).flip(0), torch.arange(rows).roll(rows // 2), shuffled


def _fillers(pixels: Tensor) -> Iterator[Tensor]:
    yield torch.zeros_like(pixels)
    yield pixels[:1].expand_as(pixels)
    generator = torch.Generator().manual_seed(0)
    yield torch.randint(-255, 511, pixels.shape, dtype=torch.int16, generator=generator)


def _keep(variation: Variation, pixels: Tensor, filler: Tensor, kept: Tensor) -> _Varied:
    changed = filler.clone()
    changed[kept] = pixels[kept]
    return _Varied(variation=variation, pixels=changed, rows=kept, first_rows=kept)


class _Spread:
    """All different outputs for the rows of one batch.

    A run with only some of the rows keeps the first run's features in the others.
    """

    def __init__(self, first: Output) -> None:
        self.first = first
        self.features = [first.image_features]
        self.differences: dict[Variation, float] = {}
        self.logits_moved = False

    def widen(self, variation: Variation, output: Output, rows: Tensor, first_rows: Tensor) -> None:
        """Adds another run, whose rows `rows` are the first run's `first_rows`."""
        features = self.first.image_features.clone()
        features[first_rows] = output.image_features[rows]
        found = _largest_distance(features, self.first.image_features)
        self.differences[variation] = max(found, self.differences.get(variation, 0.0))
        if found > 0:
            self.features.append(features)
        logits = output.logits[rows], self.first.logits[first_rows]
        self.logits_moved |= _largest_distance(*logits) > 0

    @property
    def diameter(self) -> float:
        """The largest distance between a row's features in any two runs."""
        return _diameter(self.features)


def _diameter(runs: Sequence[Tensor]) -> float:
    return max((_largest_distance(a, b) for a, b in combinations(runs, 2)), default=0.0)


def _largest_distance(a: Tensor, b: Tensor) -> float:
    """The largest l2 distance between corresponding rows, in float64.

    The same NaN or infinity on both sides is not a difference: the sample is ambiguous in both.
    """
    same = (a == b) | (a.isnan() & b.isnan())
    found = torch.where(same, 0.0, (a.double() - b.double()).abs()).norm(dim=1)
    if not found.isfinite().all():
        raise NotMeasurable(
            "a feature is finite in one run but not in another: no tau can cover that, "
            "so the model cannot be certified on this device in this precision"
        )
    return float(found.max()) if found.numel() else 0.0


def find_rounding(vlm: VLM) -> float:
    """The most that rounding moves a logit between runs whose features differ, however little."""
    return vlm.logit_scale * (vlm.embed_dim + _SLACK) * _FLOAT32_EPSILON


def _report(
    vlm: VLM, batches: Sequence[NoisyBatch], spreads: Sequence[_Spread], texts: Sequence[Tensor]
) -> EtaReport:
    diameter = vlm.logit_scale * max(spread.diameter for spread in spreads)
    text_difference = vlm.logit_scale * _diameter(texts)
    moved = diameter > 0 or text_difference > 0 or any(s.logits_moved for s in spreads)
    rounding = find_rounding(vlm) if moved else 0.0
    eta = diameter + text_difference + rounding
    tau = 2 * eta * MARGIN
    tried = [variation for variation in Variation if variation in spreads[0].differences]
    by_sigma: dict[str, list[Tensor]] = {}
    for batch, spread in zip(batches, spreads, strict=True):
        by_sigma.setdefault(f"{batch.sigma:f}", []).append(spread.first.logits)
    return EtaReport(
        identity=create_identity(vlm),
        differences={
            v: vlm.logit_scale * max(spread.differences[v] for spread in spreads) for v in tried
        },
        text_difference=text_difference,
        rounding=rounding,
        eta=eta,
        margin=MARGIN,
        tau=tau,
        samples=sum(len(batch.pixels) for batch in batches),
        ambiguous={sigma: _share(torch.cat(logits), tau) for sigma, logits in by_sigma.items()},
    )


def _share(logits: Tensor, tau: float) -> float:
    """The share of rows that would get no vote at this tau."""
    top = logits.topk(2, dim=1).values  # (B, 2)
    clear = (top[:, 0] - top[:, 1] > tau) & logits.isfinite().all(dim=1)
    return 1 - float(clear.double().mean())
