"""Prompts tuned on an image: their cards, and both as files where there is no server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from models.prompts.cards import Adaptation, PromptCard
from models.prompts.files import save_prompt
from worker.contract import CertifyRequest, TunedTarget, ZeroShotTarget
from worker.contract.protocol import PromptsTuned, TunedPrompt
from worker.counting.certificates import create_tuned_ref

TUNED_FOLDER = "tuned-prompts"


def keep_tuned_files(
    folder: Path, request: CertifyRequest, create: Callable[[], PromptsTuned]
) -> PromptsTuned:
    """Tunes, and writes each prompt down before it is certified, so that it can be fetched.

    The folder is made with the first prompt; one that lies there stays as it is. Tuning is not
    kept between runs: on one machine the same request tunes the same prompt.
    """
    tuned = create()
    for card, one in create_tuned_cards(request, tuned):
        if not (folder / f"{card.id}.toml").exists():
            save_prompt(folder, card, one.prompt.decode())
    return tuned


def create_tuned_cards(
    request: CertifyRequest, tuned: PromptsTuned
) -> Iterator[tuple[PromptCard, TunedPrompt]]:
    """The card of every tuned prompt, with its values."""
    for sigma, level in zip(request.sigmas, tuned.tuned, strict=True):
        for (_, target), one in zip(request.tuned_targets, level, strict=True):
            yield _create_card(request, sigma, target, one, tuned.weights_sha256), one


def _create_card(
    request: CertifyRequest, sigma: Decimal, target: TunedTarget, tuned: TunedPrompt, weights: str
) -> PromptCard:
    ref = create_tuned_ref(target, tuned)
    return PromptCard(
        id=ref.id,
        model=request.model.id,
        weights_sha256=weights,
        method=ref.method,
        class_names=target.class_names,
        n_ctx=tuned.prompt.n_ctx,
        width=tuned.prompt.width,
        suffix=tuned.prompt.suffix,
        sha256=ref.sha256,
        created_at=datetime.now(UTC),
        description="Tuned on one image, without a label.",
        adaptation=Adaptation(
            image_sha256=request.input.sha256,
            sigma=float(sigma),
            started_from=_started_from(target),
            **target.tuning.model_dump(),
        ),
    )


def _started_from(target: TunedTarget) -> str:
    return target.template if isinstance(target, ZeroShotTarget) else target.prompt.sha256
