"""What was trained so that rows withstand noise, and what that cost."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

from pydantic import Field

from models.prompts.cards import PromptCard
from worker.contract import Contract


class Trained(Contract):
    """A prompt, which serves every noise level, or a baseline's weights, which serve one.

    Attributes:
        kind: what it is.
        id: the id of the prompt or model.
        sigma: the noise level that it serves; None for all.
        seconds: the time that training took; None if nobody recorded it.
        size_bytes: the bytes of the vectors or weights that training made.
        device: what trained it.
    """

    kind: Literal["prompt", "denoised", "noise-trained"]
    id: str
    sigma: Decimal | None = None
    seconds: float | None = Field(default=None, ge=0)
    size_bytes: int = Field(ge=1)
    device: str = ""


def describe_prompt(card: PromptCard) -> Trained:
    """What a prompt's card says of its learning."""
    learning = card.learning
    return Trained(
        kind="prompt",
        id=card.id,
        seconds=None if learning is None else learning.seconds,
        size_bytes=4 * card.n_ctx * card.width,
        device="" if learning is None else f"{learning.device}, {learning.threads} threads",
    )


class CostRatio(Contract):
    """One prompt for all noise levels beside one baseline's weights for each.

    Attributes:
        prompt: the id of the prompt.
        baseline: the name of the baseline.
        models: the number of its models, one for each noise level.
        seconds, size_bytes: how many times as much the baseline took, all noise levels together;
            `seconds` is None if a time is not recorded.
    """

    prompt: str
    baseline: str
    models: int
    seconds: float | None
    size_bytes: float


def compare_costs(trained: Sequence[Trained]) -> Iterator[CostRatio]:
    """Compares each prompt with each baseline."""
    prompts = [one for one in trained if one.kind == "prompt"]
    for prompt in prompts:
        for kind in ("denoised", "noise-trained"):
            models = [one for one in trained if one.kind == kind]
            if models:
                yield _compare(prompt, kind, models)


def _compare(prompt: Trained, baseline: str, models: Sequence[Trained]) -> CostRatio:
    times = [one.seconds for one in models if one.seconds is not None]
    known = len(times) == len(models) and prompt.seconds
    return CostRatio(
        prompt=prompt.id,
        baseline=baseline,
        models=len(models),
        seconds=sum(times) / prompt.seconds if known and prompt.seconds else None,
        size_bytes=sum(one.size_bytes for one in models) / prompt.size_bytes,
    )
