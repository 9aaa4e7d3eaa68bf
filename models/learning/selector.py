"""Selects the prompt of a bank under which an image is least uncertain (CERTIFICATE 5)."""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor, stack

from models.vlm.base_classifier import BaseClassifier

_ROUNDING = 1e-5  # rounding error of float32 entropies whose logits differ


@final
@dataclass(frozen=True, kw_only=True)
class PromptSelector:
    """Base classifiers for one label set, one for each prompt of a bank.

    It applies the zero-shot objective to a fixed choice: the chosen prompt is the one whose class
    distribution has the least entropy. Unlike tuning, this choice can be smoothed and certified.
    """

    classifiers: tuple[BaseClassifier, ...]

    def __post_init__(self) -> None:
        if len(self.classifiers) < 2:
            raise ValueError(f"A bank needs at least two prompts; got {len(self.classifiers)}.")
        if len({classifier.num_classes for classifier in self.classifiers}) != 1:
            raise ValueError("All prompts of a bank must be for the same classes.")

    def entropies(self, image_features: Tensor) -> Tensor:
        """Returns the entropy under each prompt in nats; (B, D) to (B, m)."""
        return stack([_entropy(one.logits(image_features)) for one in self.classifiers], dim=1)

    def tolerance(self, tau: float) -> float:
        """Returns how close two entropies may be before the choice depends on the run.

        It is 0 for tau = 0. If every logit moves by at most eta, an entropy H moves by at most
        2 eta log C: its derivative along the change is -sum p_i (log p_i + H) d_i, and
        E|X - E X| <= 2 E X for X = -log p >= 0, with E X = H <= log C. So the difference of two
        entropies moves by at most 4 eta log C <= 2 tau log C.
        """
        if tau == 0:
            return 0.0
        return 2 * tau * math.log(self.classifiers[0].num_classes) + _ROUNDING


def _entropy(logits: Tensor) -> Tensor:
    """Returns entropies in nats; (B, C) to (B,)."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
