"""The prompts without a server: those that ship, those in the lab's folder, those tuned here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.log import get_logger
from models.prompts.cards import PromptCard
from models.prompts.catalogue import UnknownPrompt, find_cards, load_prompt_catalogue
from models.prompts.files import load_prompt
from models.prompts.likeness import lies_around
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt
from worker.counting.records.tuned_files import find_start

_log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class _Tuned:
    """A prompt tuned on an image here, and the one that it started from where that is known."""

    card: PromptCard
    prompt: Prompt
    start: Prompt | None


@dataclass(frozen=True, kw_only=True)
class LocalPrompts:
    """Prompts on this machine.

    Attributes:
        folder: the lab's own, or None.
        tuned: where prompts tuned by the command line lie; made when one is.
        files: further ones, named by the user.
    """

    folder: Path | None
    tuned: Path
    files: Sequence[Path] = ()

    def find_card(self, name: str) -> PromptCard | None:
        """The card of a prompt by its id or digest.

        Vectors that were tuned on an image here keep that method under any imported name, because
        what they depended on decides what a certificate covers.
        """
        tuned = tuple(self._load_tuned())
        found = _find_named(tuned, name) or self._find_own(name)
        if found is None:
            return None
        card, prompt = found
        is_tuned = any(_are_those(prompt, one.prompt, one.start) for one in tuned)
        return card.model_copy(update={"method": "zero-shot"}) if is_tuned else card

    def _load_tuned(self) -> Iterator[_Tuned]:
        """The prompts tuned here. Those whose files are damaged are left out, with a warning."""
        for path in sorted(self.tuned.glob("*.toml")) if self.tuned.is_dir() else ():
            if (found := _load_or_warn(load_prompt, path)) is not None:
                yield _Tuned(*found, start=_load_or_warn(find_start, path))

    def _find_own(self, name: str) -> tuple[PromptCard, Prompt] | None:
        """A prompt that ships or lies in the lab's folder."""
        try:
            return load_prompt_catalogue(self.folder).get(name).load()
        except UnknownPrompt:
            return None

    def find_images(self, prompt: Prompt) -> frozenset[str]:
        """The images, by digest, that vectors were learned on, under any name and in half too."""
        found: set[str] = set()
        for path in find_cards(self.folder):
            card, other = load_prompt(path)
            if card.learning is not None and other.half_sha256 == prompt.half_sha256:
                found.update(card.learning.images)
        return frozenset(found)

    def find_prompt(self, sha256: str) -> Prompt | None:
        """The prompt with a digest, or None.

        Raises:
            ValueError: one of the named files does not hold a prompt.
        """
        for path in self.files:
            if (prompt := load_prompt_file(path)).sha256 == sha256:
                return prompt
        found = _find_named(self._load_tuned(), sha256) or self._find_own(sha256)
        return None if found is None else found[1]


def _find_named(tuned: Iterable[_Tuned], name: str) -> tuple[PromptCard, Prompt] | None:
    named = (one for one in tuned if name in (one.card.id, one.card.sha256))
    return next(((one.card, one.prompt) for one in named), None)


def _load_or_warn(load: Callable[[Path], T], path: Path) -> T | None:
    try:
        return load(path)
    except ValueError as error:
        _log.warning("tuned_prompt_damaged", prompt=path.stem, reason=str(error))
        return None


def _are_those(prompt: Prompt, tuned: Prompt, start: Prompt | None) -> bool:
    if prompt.half_sha256 == tuned.half_sha256:
        return True
    return start is not None and lies_around(prompt, tuned, start)


def load_prompt_file(path: Path) -> Prompt:
    """A prompt from its card's TOML, or from what GET /prompts/{id}/ctx answered.

    Raises:
        ValueError: it is neither.
    """
    if path.suffix == ".toml":
        return load_prompt(path)[1]
    try:
        return EncodedPrompt.model_validate_json(path.read_bytes()).decode()
    except ValueError:
        raise ValueError(
            f"{path.name} is no prompt: name the card of one (.toml, with its .safetensors beside "
            "it), or what GET /prompts/{id}/ctx answered"
        ) from None
