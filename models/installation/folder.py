"""Creates and removes the folder of one model, whole or not at all."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tomli_w

from models.catalogue.cards import ModelCard, WeightFile, check_model_id
from models.files.claimed_folder import claim_folder
from models.files.whole_file import sync

CARD = "card.toml"
_BEGUN = ".adding-"


class ModelTaken(ValueError):
    """The models folder already has something under this id."""

    def __init__(self, model_id: str, path: Path) -> None:
        super().__init__(
            f"There is already something at {path}. Run promptsmooth models remove {model_id} "
            f"first; if that command knows no such model, move it away."
        )


def describe_file(path: Path) -> WeightFile:
    """Returns the name, length and SHA-256 of a file.

    Raises:
        ValueError: a card cannot hold the file's name.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return WeightFile(name=path.name, sha256=digest, size_bytes=path.stat().st_size)


def format_model_card(card: ModelCard) -> str:
    """Returns the card as TOML, which `models.catalogue.cards.parse_card` reads back unchanged."""
    return tomli_w.dumps(card.model_dump(mode="json", exclude_none=True))


@contextmanager
def begin_folder(models: Path, model_id: str) -> Iterator[Path]:
    """Yields an empty folder that becomes `<models>/<model_id>` unless the block raises.

    Until then it is inside a folder whose name starts with a dot, which catalogues skip. The next
    call removes what a killed process left there.

    Raises:
        ValueError: the id is not valid.
        ModelTaken: the id already has a folder or a card.
    """
    check_model_id(model_id)
    require_free(models, model_id)
    models.mkdir(parents=True, exist_ok=True)
    with claim_folder(models, f"{_BEGUN}{model_id}-") as claimed:
        begun = claimed / "model"
        begun.mkdir()
        yield begun
        for path in begun.iterdir():
            sync(path)
        require_free(models, model_id)
        try:
            begun.rename(models / model_id)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
                raise ModelTaken(model_id, models / model_id) from error
            raise
        sync(models)


def remove_folder(models: Path, card: ModelCard, path: Path) -> None:
    """Removes a model's card and the files it names, and the folder if it is empty afterwards.

    `path` is the card's file. Files that no card names are kept. If the folder is a symbolic link,
    the link is removed in any case.
    """
    folder = path.parent if path.name == CARD else models / card.id
    path.unlink()
    for file in card.files:
        (folder / file.name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def require_free(models: Path, model_id: str) -> None:
    """Passes if nothing in the models folder has this id.

    Raises:
        ModelTaken: something has it.
    """
    for path in (models / model_id, models / f"{model_id}.toml"):
        if os.path.lexists(path):  # also true for a broken link
            raise ModelTaken(model_id, path)
