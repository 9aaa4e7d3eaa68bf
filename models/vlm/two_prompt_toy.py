"""A toy with two prompts: which is surer, and what each says, is decided by planes of pixels.

For tests of choosing among prompts: the whole pipeline's true radius is known by geometry.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.vlm.linear_toy import NoContext
from models.vlm.vlm import check_pixels

_SURE, _UNSURE = 1.0, 0.2
_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class Plane:
    """w·x = b over integer pixels x; `threshold` b is half an odd integer, so none lies on it."""

    weight: npt.NDArray[np.int64]
    threshold: float

    def margin(self, pixels: npt.NDArray[np.integer]) -> float:
        """w·x - b, exactly."""
        return int((self.weight * pixels.astype(np.int64)).sum()) - self.threshold

    def distance(self, pixels: npt.NDArray[np.integer]) -> float:
        """l2 distance of an image from the plane, in pixels scaled to [0, 1]."""
        return abs(self.margin(pixels)) / (255 * math.sqrt(int((self.weight**2).sum())))


@final
class TwoPromptVLM(NoContext):
    """Two classes under two prompts, "A {}" and "B {}". Implements `VLM`.

    Beyond the plane `choice` prompt B is the surer one, else prompt A. Under prompt A an image is
    of the second class beyond the plane `classes["A"]`, under B beyond `classes["B"]`.
    """

    embed_dim = 4
    logit_scale = _SCALE

    def __init__(
        self,
        *,
        card: ModelCard,
        choice: Plane,
        classes: Mapping[str, Plane],
        device: torch.device,
    ) -> None:
        self.card, self.device = card, device
        self.choice, self.classes = choice, classes

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`: sure or unsure of one class under A, and of one under B."""
        check_pixels(pixels, self.card.preprocessing.size)
        chosen = self._beyond(self.choice, pixels)  # (B,)
        parts = []
        for prompt, sure in (("A", ~chosen), ("B", chosen)):
            kind = torch.nn.functional.one_hot(self._beyond(self.classes[prompt], pixels).long(), 2)
            parts.append(torch.where(sure, _SURE, _UNSURE)[:, None] * kind)  # (B, 2)
        features = torch.cat(parts, dim=1).to(torch.float32)  # (B, 4)
        return torch.nn.functional.normalize(features, dim=-1)

    def _beyond(self, plane: Plane, pixels: Tensor) -> Tensor:
        weight = torch.from_numpy(plane.weight).to(self.device, torch.float64).reshape(-1)
        return pixels.to(torch.float64).flatten(1) @ weight > plane.threshold  # (B,), exact

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`."""
        places = [self._place(text) for text in texts]
        return torch.eye(self.embed_dim, device=self.device)[places]

    def _place(self, text: str) -> int:
        prompt, class_name = text.split(" ", 1)
        return 2 * ("A", "B").index(prompt) + self.card.class_names.index(class_name)
