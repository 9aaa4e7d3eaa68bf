"""The prompts without a server: those that ship, those in the lab's folder, those tuned here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.prompts.cards import PromptCard
from models.prompts.catalogue import UnknownPrompt, find_cards, load_prompt_catalogue
from models.prompts.files import load_prompt
from models.prompts.likeness import lies_around
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt
from worker.counting.records.tuned_files import find_start


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
        for folder in (self._tuned_folder, self.folder):
            try:
                card, prompt = load_prompt_catalogue(folder).get(name).load()
            except UnknownPrompt:
                continue
            tuned = self._is_tuned(prompt)
            return card.model_copy(update={"method": "zero-shot"}) if tuned else card
        return None

    def _is_tuned(self, prompt: Prompt) -> bool:
        """Whether vectors equal those of a prompt tuned here, in half too, or lie around them."""
        paths = sorted(self.tuned.glob("*.toml")) if self.tuned.is_dir() else []
        return any(_are_those(prompt, load_prompt(path)[1], find_start(path)) for path in paths)

    def find_images(self, prompt: Prompt) -> frozenset[str]:
        """The images, by digest, that vectors were learned on, under any name and in half too."""
        found: set[str] = set()
        for path in find_cards(self.folder):
            card, other = load_prompt(path)
            if card.learning is not None and other.half_sha256 == prompt.half_sha256:
                found.update(card.learning.images)
        return frozenset(found)

    @property
    def _tuned_folder(self) -> Path | None:
        return self.tuned if self.tuned.is_dir() else None

    def find_prompt(self, sha256: str) -> Prompt | None:
        """The prompt with a digest, or None.

        Raises:
            ValueError: one of the named files does not hold a prompt.
        """
        for path in self.files:
            if (prompt := load_prompt_file(path)).sha256 == sha256:
                return prompt
        for folder in (self._tuned_folder, self.folder):
            try:
                return load_prompt_catalogue(folder).get(sha256).load()[1]
            except UnknownPrompt:
                continue
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
