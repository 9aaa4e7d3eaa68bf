"""The prompts on this machine: those that ship and those in the installation's own folder.

Workers copy them into Redis when they start, and requests can name only prompts in Redis.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.prompts.cards import InvalidPromptCard, PromptCard, load_prompt_card
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt

SHIPPED = Path(__file__).parent.parent / "shipped" / "prompts"


class UnknownPrompt(LookupError):
    """No prompt on this machine has this id or digest."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        there_are = ", ".join(known) if known else "none"
        super().__init__(f"There is no prompt {name!r}. Known prompts: {there_are}.")


def ships(prompt_id: str) -> bool:
    """Whether a prompt with this id came with the service."""
    return any(path.stem == prompt_id for path in SHIPPED.glob("*.toml"))


@dataclass(frozen=True, kw_only=True)
class PromptEntry:
    """A card and its file."""

    card: PromptCard
    path: Path

    def load(self) -> tuple[PromptCard, Prompt]:
        """Returns the card and the vectors, checked against each other; raises as `load_prompt`."""
        return load_prompt(self.path)


@dataclass(frozen=True, kw_only=True)
class PromptCatalogue:
    """The prompts of one machine, by id."""

    entries: Mapping[str, PromptEntry]

    def get(self, name: str) -> PromptEntry:
        """Returns the prompt with this id or digest.

        Raises:
            UnknownPrompt: there is no such prompt.
        """
        for entry in self.list():
            if name in (entry.card.id, entry.card.sha256):
                return entry
        raise UnknownPrompt(name, tuple(sorted(self.entries)))

    def list(self) -> tuple[PromptEntry, ...]:
        """All prompts, in order of id."""
        return tuple(self.entries[prompt_id] for prompt_id in sorted(self.entries))


def load_prompt_catalogue(folder: Path | None = None) -> PromptCatalogue:
    """Reads the cards that ship and those in the installation's folder, but not the vectors.

    Raises:
        InvalidPromptCard: a card is not valid, its file name differs from its id, or two cards have
            the same id.
        NotADirectoryError: `folder` is given but is not a folder.
    """
    entries: dict[str, PromptEntry] = {}
    for path in find_cards(folder):
        entry = PromptEntry(card=load_prompt_card(path), path=path)
        if path.stem != entry.card.id:
            raise InvalidPromptCard(path, f"its id {entry.card.id!r} differs from the file's name.")
        if entry.card.id in entries:
            raise InvalidPromptCard(path, f"another prompt already has the id {entry.card.id!r}.")
        entries[entry.card.id] = entry
    return PromptCatalogue(entries=entries)


def find_cards(folder: Path | None) -> Iterator[Path]:
    """Yields the files of all cards; raises NotADirectoryError if `folder` is not a folder."""
    yield from sorted(SHIPPED.glob("*.toml"))
    if folder is None:
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"The prompts folder {folder} does not exist or is not a folder.")
    yield from sorted(folder.glob("*.toml"))
