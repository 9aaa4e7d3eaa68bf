"""Trains a denoiser before a frozen image tower, for one noise level (Salman et al., 2020).

    min E[|d(x + noise) - x|² / sigma² per value + stability · cross-entropy(f(d(x + noise)), f(x))]

The first term is the paper's MSE objective. The second is its stability objective, with what the
frozen model answers on the clean image in place of a label. As in the paper, a denoiser is trained
with the first alone before the second joins it: here, in the second half. No label is used.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.catalogue.cards import DenoiserShape
from models.vlm.denoised import Denoiser

_WARM_UP = 0.05  # of all steps

EncodeImages = Callable[[Tensor], Tensor]
"""Pixels in [0, 1], float32 (B, 3, S, S), to logit_scale times features of unit length, (B, D).

A gradient passes through it.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class DenoisingImages:
    """Images that the model compares with one set of texts.

    `pixels` is uint8 (N, 3, S, S); `text_features` is float32 (C, D), of unit length.
    """

    pixels: npt.NDArray[np.uint8]
    text_features: Tensor


@dataclass(frozen=True, kw_only=True)
class DenoisingSettings:
    """How a denoiser is trained: AdamW in one cycle of the rate, half a cosine up and one down.

    `stability` is the weight of the second term in the second half of the steps.
    """

    shape: DenoiserShape
    steps: int = 500
    batch_size: int = 32
    learning_rate: float = 5e-3
    stability: float = 0.1
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class DenoisingStep:
    """The terms of one step's objective, not weighted; the second is None in the first half."""

    number: int
    squared_error: float
    cross_entropy: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedDenoiser:
    """A denoiser on the CPU, and the wall seconds that its training took."""

    denoiser: Denoiser
    seconds: float


def train_denoiser(
    encode: EncodeImages,
    sets: Sequence[DenoisingImages],
    settings: DenoisingSettings,
    *,
    on_step: Callable[[DenoisingStep], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedDenoiser:
    """Returns the denoiser after all steps.

    It is a function of the model, images and settings, for one thread count. Each batch is from one
    set; sets come as often as they have images.

    Args:
        encode: the frozen image tower.
        sets: the training images.
        settings: how to train.
        on_step: called after each step.
        clock: returns seconds.

    Raises:
        ValueError: there are no images, or the objective is not finite.
    """
    began, shape = clock(), settings.shape
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():  # the layers start from torch's global generator
        torch.manual_seed(settings.seed)
        denoiser = Denoiser(width=shape.width, layers=shape.layers)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings.learning_rate,
        total_steps=settings.steps,
        pct_start=_WARM_UP,
        cycle_momentum=False,
    )
    weights = torch.tensor([float(len(one.pixels)) for one in sets])
    for number in range(1, settings.steps + 1):
        images = sets[int(torch.multinomial(weights, 1, generator=generator))]
        clean, denoised = _sample_denoised(denoiser, images, settings, generator)
        error = functional.mse_loss(denoised, clean) / shape.sigma**2
        entropy = None
        if number > settings.steps // 2:
            entropy = _compare_answers(encode, images, clean, denoised)
        loss = error if entropy is None else error + settings.stability * entropy
        if not torch.isfinite(loss):
            raise ValueError(f"The objective of step {number} is not finite: lower the rate.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(
            DenoisingStep(
                number=number,
                squared_error=error.item(),
                cross_entropy=None if entropy is None else entropy.item(),
            )
        )
    return TrainedDenoiser(denoiser=denoiser.eval(), seconds=clock() - began)


def _sample_denoised(
    denoiser: Denoiser,
    images: DenoisingImages,
    settings: DenoisingSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """A batch of clean images, and what the denoiser makes of them with noise; (B, 3, S, S)."""
    rows = torch.randint(len(images.pixels), (settings.batch_size,), generator=generator)
    clean = torch.tensor(images.pixels[rows.numpy()]).float() / 255
    noise = settings.shape.sigma * torch.randn(clean.shape, generator=generator)
    return clean, denoiser(clean + noise)


def _compare_answers(
    encode: EncodeImages, images: DenoisingImages, clean: Tensor, denoised: Tensor
) -> Tensor:
    """The cross-entropy between the model's answers on clean and on denoised images; ()."""
    with torch.no_grad():
        answers = (encode(clean) @ images.text_features.T).argmax(dim=1)  # (B,)
    logits = encode(denoised) @ images.text_features.T  # (B, C)
    return functional.cross_entropy(logits, answers)
