"""The settings of few-shot prompt learning and their two presets; no torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from models.prompts.cards import NoiseLevels
from models.prompts.prompt import MAX_N_CTX, MAX_SUFFIX, split_template

Preset = Literal["default", "paper"]
INIT_STD = 0.02  # standard deviation of random vectors, as in CoOp
# Fields that were added after digests of settings had been stored, with what they were before.
_ADDED: Mapping[str, object] = {"n_random": 0, "anchor_weight": 0.0}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LearningSettings:
    """Everything about a learning but the model, the images and the class names.

    The vectors start as `n_random` vectors from N(0, 0.02²) and the embeddings of the words
    `ctx_init` behind them. Where `ctx_init` is None, they start as `n_ctx` random vectors. `suffix`
    follows the class name. `anchor_weight` is how strongly the prompt is held near the template of
    `ctx_init` and `suffix` (`models.learning.step`). An image's noise level is drawn anew in every
    epoch from `noise_levels`, on pixels in [0, 1]. The learning rate is `warmup_learning_rate` in
    the first `warmup_epochs`, then half a cosine from `learning_rate`. A gradient longer than
    `max_gradient_norm` is shortened to it; None: never. `augment` crops and mirrors at random
    before the noise.
    """

    preset: Preset
    ctx_init: str | None
    n_ctx: int = Field(default=4, ge=1, le=MAX_N_CTX)
    n_random: int = Field(default=0, ge=0, le=MAX_N_CTX)
    suffix: str = Field(default=".", max_length=MAX_SUFFIX)
    anchor_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
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
    seed: int = Field(default=1, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if self.ctx_init is None and (self.n_random or self.anchor_weight):
            raise ValueError("n_random and anchor_weight need the words ctx_init")
        return self

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

    `paper` is PromptSmooth as published. `default` was found on small models and real images, where
    the learned prompt is no worse than the template it starts from. With the paper's choices it was
    worse, for four reasons. Crops go down to 8 % of an image, which the image tower had never seen.
    Under noise above 0.5, a frozen tower trained without noise is confidently wrong and outweighs
    every other image. Random vectors forget the words. The first gradients are hundreds of times
    longer for one set than for another, so no learning rate suits both unless they are shortened.

    Raises:
        ValueError: the template is not valid, or has no words before the class name.
    """
    words, suffix = split_template(template)
    if preset == "paper":
        return LearningSettings(
            preset="paper",
            ctx_init=None,
            suffix=suffix,
            learning_rate=0.002,
            noise_levels=(0.25, 0.5, 0.75, 1.0),
        )
    return LearningSettings(
        preset="default",
        ctx_init=words,
        suffix=suffix,
        learning_rate=0.005,
        max_gradient_norm=1.0,
        noise_levels=(0.0, 0.1, 0.25, 0.5),
        augment=False,
    )
