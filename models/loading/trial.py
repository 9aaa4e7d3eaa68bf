"""Tries a loaded model once and checks that it computes features."""

import torch
from torch import Tensor

from models.catalogue.cards import create_text
from models.vlm.vlm import VLM


class FeaturesUnusable(ValueError):
    """A model was loaded, but what it computes cannot be features."""


def try_out(vlm: VLM) -> None:
    """Runs one black image and the card's own texts through a model.

    Raises:
        FeaturesUnusable: features are not finite or do not have unit length.
        ValueError: a text of the card is longer than the model's context.
    """
    size = vlm.card.preprocessing.size
    pixels = torch.zeros((1, 3, size, size), dtype=torch.int16, device=vlm.device)
    texts = [create_text(vlm.card.template, name) for name in vlm.card.class_names]
    check_unit_length(vlm, vlm.encode_images(pixels), "a black image")
    check_unit_length(vlm, vlm.encode_texts(texts), "its card's texts")


def check_unit_length(vlm: VLM, features: Tensor, what: str) -> None:
    """Passes if every row has unit length; raises FeaturesUnusable otherwise, also for NaN."""
    if not ((features.norm(dim=1) - 1).abs() < 1e-2).all():  # false for NaN
        raise FeaturesUnusable(
            f"The model {vlm.card.id} must give features of unit length; those of {what} are not."
        )
