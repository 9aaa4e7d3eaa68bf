"""One step of few-shot learning: the objective and its gradient on the context vectors.

    cross-entropy(logit_scale · cos(image features, text features), y)
        + anchor_weight · mean over classes of (1 - cos(text features, template features))

The second term keeps a prompt near the template where the images say little against it. It is the
knowledge-guided penalty of KgCoOp (Yao, Zhang, Xu, CVPR 2023) on unit features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.catalogue.cards import create_text
from models.learning.state import LearningState
from models.prompts.learning_settings import LearningSettings
from models.vlm.vlm import VLM


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step found before it moved the vectors: the mean loss, and how many were right."""

    loss: float
    right: int


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the vectors of one prompt are moved towards.

    `texts` follow the vectors, one for each class. `anchor` holds the template's text features,
    (C, D), or None where nothing holds the prompt near a template.
    """

    vlm: VLM
    texts: tuple[str, ...]
    anchor: Tensor | None
    settings: LearningSettings

    def take_step(self, state: LearningState, image_features: Tensor, labels: Tensor) -> Step:
        """Moves the vectors once, for image features (B, D) and their classes (B,)."""
        with sdpa_kernel(SDPBackend.MATH):  # CUDA's faster kernels add gradients in varying order
            text_features = self.vlm.encode_prompts(state.ctx, self.texts)  # (C, D)
            logits = self.vlm.logit_scale * image_features @ text_features.T  # (B, C)
            loss = functional.cross_entropy(logits, labels) + self._penalty(text_features)
            state.optimizer.zero_grad()
            loss.backward()
        if not torch.isfinite(loss):
            return Step(loss=loss.item(), right=0)
        if self.settings.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_([state.ctx], self.settings.max_gradient_norm)
        state.optimizer.step()
        return Step(loss=loss.item(), right=int((logits.argmax(dim=1) == labels).sum()))

    def _penalty(self, text_features: Tensor) -> Tensor | float:
        if self.anchor is None:
            return 0.0
        away = 1 - (text_features * self.anchor).sum(dim=1)  # (C,)
        return self.settings.anchor_weight * away.mean()


def create_objective(vlm: VLM, names: Sequence[str], settings: LearningSettings) -> Objective:
    """Returns the objective for these class names; computes the template's features if needed.

    Raises:
        ValueError: the template is too long for the model.
    """
    anchor = None
    if settings.template is not None and settings.anchor_weight:
        anchor = vlm.encode_texts([create_text(settings.template, name) for name in names])
    texts = tuple(name + settings.suffix for name in names)
    return Objective(vlm=vlm, texts=texts, anchor=anchor, settings=settings)
