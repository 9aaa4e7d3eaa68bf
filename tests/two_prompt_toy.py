"""A toy with two prompts: planes in pixel space decide which prompt is surer and what each says.

Tests of choosing among prompts use it: geometry gives the true radius of the whole pipeline.
"""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.testing import LinearModel
from models.vlm.linear_toy import NoContext
from models.vlm.vlm import check_pixels

_SURE, _UNSURE = 1.0, 0.2
_SCALE = 10.0


@final
class TwoPromptVLM(NoContext):
    """Two classes under two prompts, "A {}" and "B {}". Implements `VLM`.

    Beyond the plane `choice`, prompt B is the surer one; otherwise prompt A is. Under prompt A, an
    image beyond the plane `classes["A"]` has the second class; under B, the same holds for
    `classes["B"]`.
    """

    embed_dim = 4
    logit_scale = _SCALE

    def __init__(
        self,
        *,
        card: ModelCard,
        choice: LinearModel,
        classes: Mapping[str, LinearModel],
        device: torch.device,
    ) -> None:
        self.card, self.device = card, device
        self.choice, self.classes = choice, classes

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`; images are sure or unsure of one class under each prompt."""
        check_pixels(pixels, self.card.preprocessing.size)
        chosen = self._beyond(self.choice, pixels)  # (B,)
        parts = []
        for prompt, sure in (("A", ~chosen), ("B", chosen)):
            kind = torch.nn.functional.one_hot(self._beyond(self.classes[prompt], pixels).long(), 2)
            parts.append(torch.where(sure, _SURE, _UNSURE)[:, None] * kind)  # (B, 2)
        features = torch.cat(parts, dim=1).to(torch.float32)  # (B, 4)
        return torch.nn.functional.normalize(features, dim=-1)

    def _beyond(self, plane: LinearModel, pixels: Tensor) -> Tensor:
        weight = torch.from_numpy(plane.weight).to(self.device, torch.float64).reshape(-1)
        return pixels.to(torch.float64).flatten(1) @ weight > plane.threshold  # (B,), exact

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        places = [self._place(text) for text in texts]
        return torch.eye(self.embed_dim, device=self.device)[places]

    def tokenize(self, texts: Sequence[str], *, n_ctx: int = 0) -> None:
        """It has no text tower."""

    def _place(self, text: str) -> int:
        prompt, class_name = text.split(" ", 1)
        return 2 * ("A", "B").index(prompt) + self.card.class_names.index(class_name)
