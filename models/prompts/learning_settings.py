"""The settings of few-shot prompt learning and their two presets; no torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.prompts.cards import NoiseLevels
from models.prompts.prompt import MAX_N_CTX, MAX_SUFFIX, split_template

Preset = Literal["default", "paper"]
INIT_STD = 0.02  # standard deviation of random vectors, as in CoOp
# Fields that were added after digests of settings had been stored, with what they were before.
_ADDED: Mapping[str, object] = {"template": None, "smallest_crop": 0.08}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LearningSettings:
    """Everything about a learning but the model, the images and the class names.

    The vectors start as the embeddings of the words `ctx_init`, or, where that is None, as `n_ctx`
    vectors from N(0, 0.02²). `suffix` follows the class name. `template` is the sentence that the
    prompt replaces, for the card. An image's noise level is drawn anew in every epoch from
    `noise_levels`, on pixels in [0, 1]. The learning rate is `warmup_learning_rate` in the first
    `warmup_epochs`, then half a cosine from `learning_rate`. A gradient longer than
    `max_gradient_norm` is shortened to it; None: never. `augment` crops and mirrors at random
    before the noise; a crop keeps at least the share `smallest_crop` of the area.
    """

    preset: Preset
    ctx_init: str | None
    n_ctx: int = Field(default=4, ge=1, le=MAX_N_CTX)
    suffix: str = Field(default=".", max_length=MAX_SUFFIX)
    template: str | None = None
    shots: int = Field(default=16, ge=1)
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    warmup_epochs: int = Field(default=1, ge=0)
    warmup_learning_rate: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    max_gradient_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    noise_levels: NoiseLevels
    augment: bool = True
    smallest_crop: float = Field(default=0.08, gt=0, le=1)
    seed: int = Field(default=1, ge=0, lt=2**63)

    def describe(self) -> dict[str, object]:
        """Returns all fields for a digest, without those that a stored digest did not know yet."""
        fields = asdict(self)
        return {k: v for k, v in fields.items() if k not in _ADDED or v != _ADDED[k]}

    def get_learning_rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            return self.warmup_learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


def create_learning_settings(preset: Preset, template: str) -> LearningSettings:
    """Returns a preset for a template; change single fields with `dataclasses.replace`.

    Both presets learn at least four random vectors, whatever the number of the template's words:
    one vector is too few to learn with. `default` was found on the small model that ships, on train
    images alone (benchmarks/results/learning.md). Long gradients are shortened because they are
    hundreds of times longer for one set than for another, so no learning rate suits both.

    `paper` is PromptSmooth as published, but for two choices that ruin learning at 64 pixels. It
    takes crops of at least half of the image, not of 8 %, and clean images beside noisy ones.

    Raises:
        ValueError: the template is not valid, or has no words before the class name.
    """
    _, suffix = split_template(template)
    if preset == "paper":
        return LearningSettings(
            preset="paper",
            ctx_init=None,
            n_ctx=4,
            suffix=suffix,
            template=template,
            learning_rate=0.002,
            noise_levels=(0.0, 0.25, 0.5, 0.75, 1.0),
            smallest_crop=0.5,
        )
    return LearningSettings(
        preset="default",
        ctx_init=None,
        n_ctx=8,
        suffix=suffix,
        template=template,
        learning_rate=0.005,
        max_gradient_norm=1.0,
        noise_levels=(0.25, 0.5, 1.0),
        augment=False,
    )
