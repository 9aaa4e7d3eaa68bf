"""Denoisers of small images under a small model: what training reaches, and that it repeats."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.catalogue.cards import DenoiserShape
from models.learning.denoising import (
    DenoisingImages,
    DenoisingSettings,
    DenoisingStep,
    get_learning_rate_factor,
    train_denoiser,
)

SHAPE = DenoiserShape(sigma=0.5, width=16, layers=3)
SETTINGS = DenoisingSettings(shape=SHAPE, steps=300, batch_size=16, learning_rate=1e-2)


def encode(pixels: torch.Tensor) -> torch.Tensor:
    """A model that sees how light the image is: ten times a point on the unit circle."""
    light = torch.pi / 2 * pixels.mean(dim=(1, 2, 3))
    return 10 * torch.stack([light.cos(), light.sin()], dim=1)  # (B, 2)


@pytest.fixture
def images() -> DenoisingImages:
    """Flat grey images; the model calls half of them dark and half light."""
    levels = np.linspace(20, 235, 40).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (40, 3, 16, 16)).copy()
    return DenoisingImages(pixels=pixels, text_features=torch.eye(2))


def train(images, settings=SETTINGS) -> tuple[list[DenoisingStep], torch.nn.Module]:
    steps: list[DenoisingStep] = []
    trained = train_denoiser(encode, [images], settings, on_step=steps.append)
    return steps, trained.denoiser


def test_training_removes_most_of_the_noise(images):
    """At the start nothing is removed, so the error is the variance of the noise.

    12,288 values of noise give that within 0.013; four standard errors are 0.052.
    """
    steps, denoiser = train(images)
    assert steps[0].squared_error == pytest.approx(1, abs=0.052)
    assert np.mean([step.squared_error for step in steps[-10:]]) < 0.2
    generator = torch.Generator().manual_seed(9)
    clean = torch.tensor(images.pixels).float() / 255
    noisy = clean + 0.5 * torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        assert functional.mse_loss(denoiser(noisy), clean) < 0.2 * 0.5**2


def test_the_second_term_keeps_what_the_model_answers(images):
    """With a thousand times its weight, training brings the model's answers back."""
    far = DenoisingSettings(shape=SHAPE, steps=60, batch_size=16, stability=100.0)
    steps, _ = train(images, far)
    early = np.mean([step.cross_entropy for step in steps[:10]])
    late = np.mean([step.cross_entropy for step in steps[-10:]])
    assert late < early


def test_the_same_seed_trains_the_same_denoiser_whatever_ran_before(images):
    short = DenoisingSettings(shape=SHAPE, steps=5)
    _, first = train(images, short)
    torch.manual_seed(12345)
    state = torch.random.get_rng_state()
    _, second = train(images, short)
    assert torch.equal(torch.random.get_rng_state(), state), "torch's own generator is left alone"
    _, other = train(images, DenoisingSettings(shape=SHAPE, steps=5, seed=2))
    for name, leaf in first.state_dict().items():
        assert torch.equal(leaf, second.state_dict()[name])
    assert not torch.equal(first.convolutions[0].weight, other.convolutions[0].weight)


def test_the_rate_rises_and_falls_to_nothing():
    rates = [get_learning_rate_factor(step, 100) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(one >= two for one, two in pairwise(rates[4:]))
    assert rates[-1] < 0.001


def test_a_training_that_diverges_ends_with_a_sentence(images):
    with pytest.raises(ValueError, match="not finite"):
        train(images, DenoisingSettings(shape=SHAPE, steps=30, learning_rate=1e30))
