"""A linear classifier as a `VLM`: the toy whose certificates can be checked against geometry."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.vlm.vlm import check_pixels

LOGIT_SCALE = 100.0


class NoContext:
    """The part of a `VLM` that takes context vectors, of a model that takes none."""

    card: ModelCard
    text_width = 0

    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`. There is no text tower."""
        raise ValueError(f"The model {self.card.id} takes no context vectors; {text!r} came.")

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`. There is no text tower."""
        came = f"{len(ctx)} of them for {len(texts)} classes"
        raise ValueError(f"The model {self.card.id} takes no context vectors; {came} came.")


@final
class LinearVLM(NoContext):
    """Two classes, told apart by the sign of w·x - b over integer pixels x. Implements `VLM`.

    w holds integers and b half an odd integer, so in float64 the sum is exact and never zero. An
    image has the feature (1, 0, 0) where w·x < b and (0, 1, 0) where w·x > b. A text that names
    the card's first class, or its second, has the same feature; any other text has (0, 0, 1),
    which is like no image.
    """

    embed_dim = 3
    logit_scale = LOGIT_SCALE

    def __init__(
        self, *, card: ModelCard, weight: Tensor, threshold: Tensor, device: torch.device
    ) -> None:
        self.card = card
        self.device = device
        self.weight = weight.to(device, torch.float64).reshape(-1)  # (3HW,)
        self.threshold = threshold.to(device, torch.float64)  # ()

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        check_pixels(pixels, self.card.preprocessing.size)
        sums = pixels.to(torch.float64).flatten(1) @ self.weight  # (B,), exact
        return self._axis((sums > self.threshold).long())

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        return self._axis(torch.tensor([self._named(text) for text in texts], device=self.device))

    def _named(self, text: str) -> int:
        first, second = (name in text for name in self.card.class_names)
        if first == second:
            return 2
        return 0 if first else 1

    def _axis(self, index: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(index, self.embed_dim).to(torch.float32)
