"""The folder of one model in an installation: made whole or not at all."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tomli_w

from models.catalogue.cards import ModelCard, WeightFile, check_model_id
from models.files.claimed_folder import claim_folder

CARD = "card.toml"
_BEGUN = ".adding-"


class ModelTaken(ValueError):
    """The folder of models has something under this id already."""

    def __init__(self, model_id: str, path: Path) -> None:
        super().__init__(
            f"There is something at {path} already; first run: promptsmooth models remove "
            f"{model_id}; or move it away, where that knows no such model."
        )


def describe_file(path: Path) -> WeightFile:
    """Name, length and SHA-256 of a file.

    Raises:
        ValueError: a name that a card cannot hold.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return WeightFile(name=path.name, sha256=digest, size_bytes=path.stat().st_size)


def format_model_card(card: ModelCard) -> str:
    """The card as TOML, which `models.catalogue.cards.parse_card` reads to an equal one."""
    return tomli_w.dumps(card.model_dump(mode="json", exclude_none=True))


@contextmanager
def begin_folder(models: Path, model_id: str) -> Iterator[Path]:
    """An empty folder that becomes `<models>/<model_id>` if the block ends, and goes if it raises.

    Until then it lies in a folder whose name begins with a dot, which catalogues leave alone. What
    a process left there that was killed is removed by the next one.

    Raises:
        ValueError: no valid id.
        ModelTaken: the id has a folder or a card already.
    """
    check_model_id(model_id)
    require_free(models, model_id)
    models.mkdir(parents=True, exist_ok=True)
    with claim_folder(models, f"{_BEGUN}{model_id}-") as claimed:
        begun = claimed / "model"
        begun.mkdir()
        yield begun
        for path in begun.iterdir():
            _sync(path)
        require_free(models, model_id)
        try:
            begun.rename(models / model_id)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # somebody was quicker
                raise ModelTaken(model_id, models / model_id) from error
            raise
        _sync(models)


def remove_folder(models: Path, card: ModelCard, path: Path) -> None:
    """Removes a model's card and the files it names; the folder too, if nothing else is in it.

    `path` is the card's file. Files of the folder that no card names stay; of a folder that is a
    link, the link goes all the same.
    """
    folder = path.parent if path.name == CARD else models / card.id
    path.unlink()
    for file in card.files:
        (folder / file.name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def require_free(models: Path, model_id: str) -> None:
    """Passes when nothing in the folder of models has this id.

    Raises:
        ModelTaken: something has.
    """
    for path in (models / model_id, models / f"{model_id}.toml"):
        if os.path.lexists(path):  # a link to nowhere too
            raise ModelTaken(model_id, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
