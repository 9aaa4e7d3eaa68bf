"""Denoisers of small images under a small model: what training reaches, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.catalogue.cards import DenoiserShape
from models.learning.denoising import (
    DenoisingImages,
    DenoisingSettings,
    DenoisingStep,
    train_denoiser,
)

SHAPE = DenoiserShape(sigma=0.5, width=16, layers=3)
SETTINGS = DenoisingSettings(shape=SHAPE, steps=100, batch_size=16)


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


def test_training_removes_more_noise_than_the_mean_around_a_pixel(images):
    """That mean keeps a 25th of the variance, and more at the border; training keeps less."""
    steps, denoiser = train(images)
    assert 1 / 25 < steps[0].squared_error < 2 / 25
    assert np.mean([step.squared_error for step in steps[-10:]]) < 1 / 25
    generator = torch.Generator().manual_seed(9)
    clean = torch.tensor(images.pixels).float() / 255
    noisy = clean + 0.5 * torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        assert functional.mse_loss(denoiser(noisy), clean) < 0.5**2 / 25


def test_the_second_half_keeps_what_the_model_answers(images):
    """A heavy second term brings more of the model's answers back than none, on the same noise."""
    found = {}
    for stability in (0.0, 100.0):
        steps, _ = train(images, replace(SETTINGS, stability=stability))
        assert {step.cross_entropy is None for step in steps[:50]} == {True}
        found[stability] = np.mean([step.cross_entropy for step in steps[-25:]])
    assert found[100.0] < found[0.0]


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


def test_a_training_that_diverges_ends_with_a_sentence(images):
    with pytest.raises(ValueError, match="not finite"):
        train(images, DenoisingSettings(shape=SHAPE, steps=30, learning_rate=1e30))
