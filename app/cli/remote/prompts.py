"""Learned prompts on both sides: sent to a service that lacks them, asked of one that has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.client import AsyncClient, ServiceRefused
from models.prompts.cards import PromptCard
from models.prompts.catalogue import UnknownPrompt, load_prompt_catalogue
from models.prompts.ctx_file import find_suffix, parse_ctx, write_ctx
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class SharedPrompt:
    """A prompt that is here and at the service.

    Attributes:
        card: the service's card, which certificates name.
        known: the card that says most of its learning: this machine's, if there is one.
        prompt: the vectors.
    """

    card: PromptCard
    known: PromptCard
    prompt: Prompt


async def share_prompts(
    client: AsyncClient, names: Sequence[str], folder: Path | None
) -> tuple[SharedPrompt, ...]:
    """Finds prompts by the path of a card (.toml), by id or by digest, here first.

    One that the service lacks is sent.

    Args:
        client: of the service.
        names: the prompts.
        folder: this machine's own prompts, beside those that ship.

    Raises:
        ValueError: two names mean one prompt.
        app.client.ServiceRefused: the service has no prompt of that name, or will not take it.
        models.prompts.files.PromptFileError: a prompt's files are not in order.
    """
    found = [await _share(client, name, folder) for name in names]
    if len({one.card.sha256 for one in found}) != len(found):
        raise ValueError("each prompt is named once")
    return tuple(found)


async def fetch_prompt(client: AsyncClient, name: str) -> tuple[PromptCard, Prompt]:
    """A prompt of the service, by its id or digest."""
    card, content = _read_card(await client.prompt(name)), await client.prompt_values(name)
    suffix = find_suffix(content)
    return card, Prompt(ctx=parse_ctx(content), suffix=card.suffix if suffix is None else suffix)


async def _share(client: AsyncClient, name: str, folder: Path | None) -> SharedPrompt:
    own = _find_own(name, folder)
    if own is None:
        card, prompt = await fetch_prompt(client, name)
        return SharedPrompt(card=card, known=card, prompt=prompt)
    known, prompt = own
    try:
        card = _read_card(await client.prompt(known.sha256))
    except ServiceRefused as error:
        if error.code != "prompt_not_found":
            raise
        card = await _send(client, known, prompt)
    return SharedPrompt(card=card, known=known, prompt=prompt)


def _find_own(name: str, folder: Path | None) -> tuple[PromptCard, Prompt] | None:
    if name.endswith(".toml"):
        return load_prompt(Path(name))
    try:
        return load_prompt_catalogue(folder).get(name).load()
    except UnknownPrompt:
        return None


async def _send(client: AsyncClient, card: PromptCard, prompt: Prompt) -> PromptCard:
    sent = await client.import_prompt(
        write_ctx(prompt.ctx, prompt.suffix),
        id=card.id,
        model=card.model,
        class_name=list(card.class_names),
        licence=card.licence[:200] or None,
        source=card.source[:500] or None,
    )
    return _read_card(sent)


def _read_card(answer: dict[str, Any]) -> PromptCard:
    return PromptCard.model_validate({k: v for k, v in answer.items() if k != "links"})
