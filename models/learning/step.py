"""One step of few-shot learning: the gradient of the objective on the context vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.learning.state import LearningState
from models.prompts.learning_settings import LearningSettings
from models.vlm.vlm import VLM


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step found before it moved the vectors: the mean loss, and how many were right."""

    loss: float
    right: int


def take_step(
    vlm: VLM,
    state: LearningState,
    texts: Sequence[str],
    image_features: Tensor,
    labels: Tensor,
    settings: LearningSettings,
) -> Step:
    """Moves the vectors of `state` once, unless the loss is not finite.

    Args:
        vlm: the frozen model.
        state: holds the vectors and the optimiser.
        texts: the words that follow the vectors, one text for each class.
        image_features: float32 (B, D).
        labels: the images' classes, (B,).
        settings: whether a long gradient is shortened.
    """
    with sdpa_kernel(SDPBackend.MATH):  # CUDA's faster kernels add gradients in varying order
        text_features = vlm.encode_prompts(state.ctx, texts)  # (C, D)
        logits = vlm.logit_scale * image_features @ text_features.T  # (B, C)
        loss = functional.cross_entropy(logits, labels)
        state.optimizer.zero_grad()
        loss.backward()
    if torch.isfinite(loss):
        if settings.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_([state.ctx], settings.max_gradient_norm)
        state.optimizer.step()
    return Step(loss=loss.item(), right=int((logits.argmax(dim=1) == labels).sum()))
