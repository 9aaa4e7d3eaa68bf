"""A loaded model tried once: are what it computes features?"""

import torch
from torch import Tensor

from models.vlm.vlm import VLM


class FeaturesUnusable(ValueError):
    """A model was loaded, and what it computes are no features."""


def try_out(vlm: VLM) -> None:
    """Runs one black image and the card's own texts through a model.

    Raises:
        FeaturesUnusable: features are not finite or not of unit length.
        ValueError: a text of the card is longer than the model reads.
    """
    size = vlm.card.preprocessing.size
    pixels = torch.zeros((1, 3, size, size), dtype=torch.int16, device=vlm.device)
    texts = [vlm.card.template.replace("{}", name) for name in vlm.card.class_names]
    check_unit_length(vlm, vlm.encode_images(pixels), "a black image")
    check_unit_length(vlm, vlm.encode_texts(texts), "its card's texts")


def check_unit_length(vlm: VLM, features: Tensor, what: str) -> None:
    """Passes where every row has unit length. FeaturesUnusable where one has not, or is NaN."""
    if not ((features.norm(dim=1) - 1).abs() < 1e-2).all():  # NaN is never less
        raise FeaturesUnusable(
            f"The features of the model {vlm.card.id} are of unit length; those of {what} are not."
        )
