"""What an image is compared with: label sets, each under one prompting."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from models.catalogue.cards import Sha256
from models.catalogue.texts import ClassNames, Template
from models.prompts.cards import Method, PromptId
from worker.contract.quantities import Contract

MAX_TARGETS = 16
MAX_CLASS_NAMES = 100
MAX_BANK = 16

Labels = Annotated[ClassNames, Field(max_length=MAX_CLASS_NAMES)]


class PromptRef(Contract):
    """A stored prompt: its digest says which, its id is what people call it."""

    id: PromptId
    sha256: Sha256
    method: Method

    @property
    def is_tuned_on_an_image(self) -> bool:
        """Whether the prompt is a function of one image, and not fixed before any was seen."""
        return self.method in ("zero-shot", "few-shot+zero-shot")


class Tuning(Contract):
    """How a zero-shot prompt is tuned; the defaults are the published ones.

    `copies` noisy copies of the image at the certificate's own sigma, `steps` of AdamW on the
    entropy of their mean class distribution.
    """

    copies: int = Field(default=100, ge=1, le=1000)
    steps: int = Field(default=1, ge=1, le=100)
    learning_rate: float = Field(default=5e-3, gt=0, le=1, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)


class TemplateTarget(Contract):
    """One label set under a sentence with a place for the class name."""

    prompting: Literal["template"] = "template"
    template: Template
    class_names: Labels


class FewShotTarget(Contract):
    """One label set under a stored prompt, as it is."""

    prompting: Literal["few-shot"] = "few-shot"
    prompt: PromptRef
    class_names: Labels


class ZeroShotTarget(Contract):
    """One label set under a prompt tuned on this image, from a template's words."""

    prompting: Literal["zero-shot"] = "zero-shot"
    template: Template
    class_names: Labels
    tuning: Tuning = Tuning()


class FewShotZeroShotTarget(Contract):
    """One label set under a stored prompt that is tuned further on this image."""

    prompting: Literal["few-shot+zero-shot"] = "few-shot+zero-shot"
    prompt: PromptRef
    class_names: Labels
    tuning: Tuning = Tuning()


class BankTemplate(Contract):
    """A template as one of a bank's prompts."""

    template: Template


BankEntry = PromptRef | BankTemplate


def _check_bank(bank: tuple[BankEntry, ...]) -> tuple[BankEntry, ...]:
    """Different prompts, none of which was made from an image that is certified."""
    names = [e.sha256 if isinstance(e, PromptRef) else e.template for e in bank]
    if len(set(names)) != len(names):
        raise ValueError("the prompts of a bank differ from one another")
    if any(isinstance(entry, PromptRef) and entry.is_tuned_on_an_image for entry in bank):
        raise ValueError("a bank is fixed before any image is seen; a tuned prompt is not")
    return bank


Bank = Annotated[
    tuple[BankEntry, ...], Field(min_length=2, max_length=MAX_BANK), AfterValidator(_check_bank)
]


class RoutedTarget(Contract):
    """One label set under a bank of prompts, among which a smoothed selector chooses."""

    prompting: Literal["routed"] = "routed"
    bank: Bank
    class_names: Labels


Target = Annotated[
    TemplateTarget | FewShotTarget | ZeroShotTarget | FewShotZeroShotTarget | RoutedTarget,
    Field(discriminator="prompting"),
]
"""One label set under one prompting: what the image is compared with."""

TunedTarget = ZeroShotTarget | FewShotZeroShotTarget
