"""Prompt cards: `<id>.toml` describes a prompt and how it was made, beside `<id>.safetensors`.

Reading a card needs neither torch nor the vectors.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from models.catalogue.cards import Card, Sha256, TrainingSet
from models.catalogue.texts import ClassNames
from models.files.untrusted_text import one_line, parse_toml
from models.prompts.prompt import MAX_N_CTX, MAX_SUFFIX, MAX_WIDTH

Method = Literal["few-shot", "zero-shot", "few-shot+zero-shot", "imported"]
PROMPT_ID = r"^[a-z0-9][a-z0-9._-]{0,63}$"
PromptId = Annotated[str, Field(pattern=PROMPT_ID)]


class InvalidPromptCard(ValueError):
    """A prompt's card cannot be read or breaks a rule of `PromptCard`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The prompt card {path} is not valid: {reason}")


def _check_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    if not levels or len(set(levels)) != len(levels) or not all(0 <= s <= 10 for s in levels):
        raise ValueError("noise levels must be one or more different numbers from 0 to 10")
    return levels


NoiseLevels = Annotated[tuple[float, ...], AfterValidator(_check_levels)]


class Learning(Card):
    """How a few-shot prompt was learned: everything that, run again, gives the same vectors.

    `images_sha256` is the digest of the prepared training images and their classes in order, and
    `images` has the digest of each image: a certificate for one of them says that its prompt knows
    it.
    `noise_levels` are sigmas drawn per image, on pixels in [0, 1]. `loss` and `accuracy` are the
    last epoch's, on the noisy training images.
    """

    preset: str
    shots: int = Field(ge=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    warmup_epochs: int = Field(ge=0)
    warmup_learning_rate: float = Field(ge=0)
    max_gradient_norm: float | None = Field(default=None, gt=0)
    noise_levels: NoiseLevels
    augment: bool
    smallest_crop: float = Field(default=0.08, gt=0, le=1)
    seed: int = Field(ge=0)
    images_sha256: Sha256
    images: tuple[Sha256, ...] = Field(default=(), exclude_if=lambda found: not found)
    loss: float
    accuracy: float = Field(ge=0, le=1)
    device: str
    threads: int = Field(ge=1)
    seconds: float = Field(ge=0)
    versions: dict[str, str]


class PromptAdaptation(Card):
    """Which image a zero-shot prompt was tuned on, and how.

    Such a prompt is a function of that image: a certificate for the image with it is one for the
    frozen prompt, whenever it is asked for.
    """

    image_sha256: Sha256
    sigma: float = Field(gt=0, le=10)
    copies: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    started_from: str = Field(description="The template, or the digest of the prompt before.")


class PromptCard(Card):
    """A prompt's card. `sha256` identifies the vectors; see `Prompt.sha256`."""

    id: PromptId
    model: str
    weights_sha256: Sha256
    method: Method
    class_names: ClassNames
    n_ctx: int = Field(ge=1, le=MAX_N_CTX)
    width: int = Field(ge=1, le=MAX_WIDTH)
    suffix: str = Field(max_length=MAX_SUFFIX)
    ctx_init: str | None = None
    template: str | None = Field(default=None, description="The sentence that the prompt replaces.")
    sha256: Sha256
    created_at: datetime
    description: str = ""
    licence: str = ""
    source: str = ""
    training_data: tuple[TrainingSet, ...] = ()
    learning: Learning | None = None
    adaptation: PromptAdaptation | None = None


def parse_prompt_card(text: str) -> PromptCard:
    """Returns the card in a TOML text; raises ValueError if it is not TOML or a field is wrong."""
    return PromptCard.model_validate(parse_toml(text))


def load_prompt_card(path: Path) -> PromptCard:
    """Returns the card in a TOML file.

    Raises:
        InvalidPromptCard: the file is unreadable, is not TOML or breaks a rule. The error names it.
    """
    try:
        return parse_prompt_card(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise InvalidPromptCard(path, one_line(error)) from error
