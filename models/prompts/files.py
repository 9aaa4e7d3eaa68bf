"""Reads and writes prompts: a card `<id>.toml` and vectors in `<id>.safetensors`; no torch.

PromptFileError
├── PromptFileMissing   a file is missing
├── PromptUnreadable    the vectors' file has another form or holds no prompt
├── PromptMismatch      the card and the vectors do not belong together
└── PromptTaken         another prompt in this folder has this id
"""

from pathlib import Path

import tomli_w

from models.files.whole_file import write_whole
from models.prompts.cards import PromptCard, load_prompt_card
from models.prompts.ctx_file import MAX_BYTES, parse_ctx, write_ctx
from models.prompts.prompt import Prompt

TUNED_FOLDER = "tuned-prompts"
"""Where prompts that were tuned on images lie, within the folder of a run or of data."""


class PromptFileError(ValueError):
    """A prompt on disk cannot be used."""


class PromptFileMissing(PromptFileError):
    """A prompt's card or vectors are not where they should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"The prompt's file {path.name} is missing; it is expected at {path}.")


class PromptUnreadable(PromptFileError):
    """The vectors' file does not hold a prompt."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The prompt's file {path} cannot be read: {reason}.")


class PromptMismatch(PromptFileError):
    """The vectors are not those the card names."""

    def __init__(self, card: PromptCard, field: str, *, expected: object, found: object) -> None:
        super().__init__(
            f"The vectors of the prompt {card.id!r} are not those its card names: "
            f"expected {field} {expected}, found {found}."
        )


class PromptTaken(PromptFileError):
    """The id belongs to another prompt; certificates show ids, so an id is never reused."""

    def __init__(self, prompt_id: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"The id {prompt_id!r} belongs to another prompt: its digest is {expected}, and "
            f"the new prompt's is {found}. Choose another id."
        )


def save_prompt(folder: Path, card: PromptCard, prompt: Prompt) -> Path:
    """Writes both files of a prompt, the vectors first, so that no card is ever without them.

    Creates the folder if needed. Saving the same prompt again is allowed and replaces its card.
    Returns the path of the card.

    Raises:
        PromptMismatch: the card belongs to another prompt.
        PromptTaken: another prompt in this folder has the id.
        OSError: the folder cannot be written to. No file of a new prompt is left behind.
    """
    check_prompt(card, prompt)
    path = folder / f"{card.id}.toml"
    folder.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    if not is_new and (taken := load_prompt_card(path).sha256) != card.sha256:
        raise PromptTaken(card.id, expected=taken, found=card.sha256)
    values = get_values_path(path)
    try:
        write_whole(values, write_ctx(prompt.ctx))
        write_whole(path, format_card(card).encode())
    except BaseException:
        if is_new:
            values.unlink(missing_ok=True)
        raise
    return path


def load_prompt(path: Path) -> tuple[PromptCard, Prompt]:
    """Returns the card in the TOML file `path` and the prompt it names.

    Raises:
        PromptFileMissing: the card or the vectors are missing.
        InvalidPromptCard: the card is not valid.
        PromptUnreadable: the vectors' file does not hold a prompt.
        PromptMismatch: the vectors' width, number, suffix or digest differs from the card's.
    """
    if not path.is_file():
        raise PromptFileMissing(path)
    card = load_prompt_card(path)
    prompt = _load_values(get_values_path(path), card.suffix)
    check_prompt(card, prompt)
    return card, prompt


def remove_files(path: Path) -> None:
    """Removes the card `path` and then its vectors; missing files are no error."""
    path.unlink(missing_ok=True)
    get_values_path(path).unlink(missing_ok=True)


def check_prompt(card: PromptCard, prompt: Prompt) -> None:
    """Passes if the card belongs to these vectors; otherwise raises PromptMismatch."""
    for field in ("width", "n_ctx", "suffix", "sha256"):
        expected, found = getattr(card, field), getattr(prompt, field)
        if expected != found:
            raise PromptMismatch(card, field, expected=expected, found=found)


def format_card(card: PromptCard) -> str:
    """Returns the card as TOML, which `models.prompts.cards.parse_prompt_card` reads unchanged."""
    return tomli_w.dumps(card.model_dump(exclude_none=True))


def get_values_path(path: Path) -> Path:
    """Returns the path of the vectors that belong to the card `path`."""
    return path.with_name(f"{path.stem}.safetensors")  # not with_suffix: an id may contain dots


def _load_values(path: Path, suffix: str) -> Prompt:
    if not path.is_file():
        raise PromptFileMissing(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        return Prompt(ctx=parse_ctx(content), suffix=suffix)
    except ValueError as error:
        raise PromptUnreadable(path, str(error).rstrip(".")) from error
