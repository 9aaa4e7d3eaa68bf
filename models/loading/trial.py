"""Tries a loaded model once and checks that it computes features."""

import numpy as np
import torch
from torch import Tensor

from models.catalogue.texts import create_text
from models.catalogue.weights import NetworkRefused
from models.vlm.base_classifier import check_read_apart
from models.vlm.denoised import encode_raw
from models.vlm.vlm import VLM

_SEED = 20240601
_IMAGES = 16


class FeaturesUnusable(ValueError):
    """A model was loaded, but what it computes cannot be features."""


def try_out(vlm: VLM) -> None:
    """Runs one black image and the card's own texts through a model.

    An image classifier also answers images of noise, whose logits must differ.

    Raises:
        FeaturesUnusable: features are not finite or do not have unit length.
        NetworkRefused: as `check_distinct`.
        ValueError: a text of the card is longer than the model's context, or the model reads two
            of the card's class names alike.
    """
    size = vlm.card.preprocessing.size
    pixels = torch.zeros((1, 3, size, size), dtype=torch.int16, device=vlm.device)
    texts = [create_text(vlm.card.template, name) for name in vlm.card.class_names]
    check_unit_length(vlm, vlm.encode_images(pixels), "a black image")
    check_unit_length(vlm, vlm.encode_texts(texts), "its card's texts")
    check_read_apart(vlm, vlm.card.class_names, texts)
    if not vlm.card.has_texts:
        check_distinct(encode_raw(vlm, _sample_images(size)))


def _sample_images(size: int) -> Tensor:
    """Images of uniform noise, from dark to bright, int16 (16, 3, size, size). For no vote."""
    generator = np.random.Generator(np.random.Philox(_SEED))
    brightest = np.linspace(2, 256, _IMAGES).astype(np.int64)[:, None, None, None]
    noise = generator.integers(0, brightest, (_IMAGES, 3, size, size))
    return torch.from_numpy(noise.astype(np.int16))


def check_distinct(logits: Tensor) -> None:
    """Passes if at least half of the answers (B, ...) to different images are different.

    Raises:
        NetworkRefused: they are not.
    """
    distinct = len(logits.unique(dim=0))
    if 2 * distinct < len(logits):
        raise NetworkRefused(
            f"it gives {distinct} different answers for {len(logits)} different images, so it "
            "gives classes, not logits; cut it before ArgMax"
        )


def check_unit_length(vlm: VLM, features: Tensor, what: str) -> None:
    """Passes if every row has unit length; raises FeaturesUnusable otherwise, also for NaN."""
    if not ((features.norm(dim=1) - 1).abs() < 1e-2).all():  # false for NaN
        raise FeaturesUnusable(
            f"The model {vlm.card.id} must give features of unit length; those of {what} are not."
        )
