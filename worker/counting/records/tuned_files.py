"""Prompts tuned on an image: their cards, and both as files outside the service."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from models.files.whole_file import write_whole
from models.prompts.cards import PromptAdaptation, PromptCard
from models.prompts.ctx_file import parse_ctx, write_ctx
from models.prompts.files import save_prompt
from models.prompts.prompt import Prompt
from worker.contract import CertifyRequest, TunedTarget, ZeroShotTarget
from worker.contract.protocol import PromptsTuned, TunedPrompt
from worker.counting.certificates import create_tuned_ref


def keep_tuned_files(
    folder: Path, request: CertifyRequest, create: Callable[[], PromptsTuned]
) -> PromptsTuned:
    """Tunes prompts and writes each one before it is certified, so that it can be fetched.

    The folder is created with the first prompt. A prompt that is already there stays as it is. Each
    run tunes again: on one machine the same request gives the same prompt.
    """
    tuned = create()
    for card, one in create_tuned_cards(request, tuned):
        path = folder / f"{card.id}.toml"
        if one.start is not None:
            _keep_start(path, one.start.decode())
        if not path.exists():
            save_prompt(folder, card, one.prompt.decode())
    return tuned


def _keep_start(path: Path, start: Prompt) -> None:
    """Writes the start of the prompt with this card, before it, so that no card is without one."""
    if not _start_path(path).exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(_start_path(path), write_ctx(start.ctx, start.suffix))


def _start_path(path: Path) -> Path:
    return path.with_suffix(".start")


def find_start(path: Path) -> Prompt | None:
    """The prompt that the tuned one with this card started from; None if it was not written.

    Raises:
        ValueError: the file does not hold a prompt.
    """
    try:
        return Prompt(ctx=parse_ctx(_start_path(path).read_bytes()))
    except FileNotFoundError:
        return None


def create_tuned_cards(
    request: CertifyRequest, tuned: PromptsTuned
) -> Iterator[tuple[PromptCard, TunedPrompt]]:
    """Yields the card of each tuned prompt, with the prompt."""
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
        adaptation=PromptAdaptation(
            image_sha256=request.input.sha256,
            sigma=float(sigma),
            started_from=_started_from(target),
            **target.tuning.model_dump(),
        ),
    )


def _started_from(target: TunedTarget) -> str:
    return target.template if isinstance(target, ZeroShotTarget) else target.prompt.sha256
