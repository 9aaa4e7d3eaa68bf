"""A linear classifier as a `VLM`: a toy whose certificates can be checked against geometry."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.vlm.vlm import check_pixels

LOGIT_SCALE = 100.0


class NoContext:
    """The part of a `VLM` that reads texts and context vectors, for models without a text tower."""

    card: ModelCard
    text_width = 0

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> None:
        """See `VLM.tokenize`."""

    def embed_text(self, text: str) -> Tensor:
        """Raises ValueError, because there is no text tower; see `VLM.embed_text`."""
        raise ValueError(f"The model {self.card.id} takes no context vectors; {text!r} came.")

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Raises ValueError, because there is no text tower; see `VLM.encode_prompts`."""
        came = f"{len(ctx)} of them for {len(texts)} classes"
        raise ValueError(f"The model {self.card.id} takes no context vectors; {came} came.")


@final
class LinearVLM(NoContext):
    """Two classes, separated by the sign of w·x - b over integer pixels x. Implements `VLM`.

    w holds integers and b is half an odd integer, so in float64 the sum is exact and never zero. An
    image has the feature of the card's first class if w·x < b, and of its second if w·x > b. These
    are (1, 0, 0) and (0, 1, 0), the latter for the name that comes first in the alphabet: so models
    whose names have changed sides compute other features, and have another fingerprint. A text that
    contains only one class name has the feature of that class. Any other text has (0, 0, 1), which
    is orthogonal to every image.
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
        first, second = card.class_names
        self._places = (0, 1) if first > second else (1, 0)  # of the classes' ones in a feature

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        check_pixels(pixels, self.card.preprocessing.size)
        sums = pixels.to(torch.float64).flatten(1) @ self.weight  # (B,), exact
        return self._side(sums > self.threshold)

    def encode_levels(self, levels: Tensor) -> Tensor:
        """See `VLM.encode_levels`. The stand-in for the step is the signed distance."""
        sums = levels.to(torch.float64).flatten(1) @ self.weight  # (B,)
        distance: Tensor = (sums - self.threshold) / torch.linalg.vector_norm(self.weight)  # (B,)
        yes, no = torch.tensor([True, False], device=self.device)
        slope = self._side(yes) - self._side(no)
        passing = (distance - distance.detach()).to(torch.float32)[:, None] * slope  # zeros
        return self._side(distance > 0) + passing

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        return self._axis(torch.tensor([self._named(text) for text in texts], device=self.device))

    def _named(self, text: str) -> int:
        first, second = (name in text for name in self.card.class_names)
        if first == second:
            return 2
        return self._places[0 if first else 1]

    def _side(self, above: Tensor) -> Tensor:
        """The features of images above the plane or below it."""
        return self._axis(torch.where(above, self._places[1], self._places[0]))

    def _axis(self, index: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(index, self.embed_dim).to(torch.float32)
