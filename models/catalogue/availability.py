"""Are a model's weight files here? No torch; presence and length only, digests when loading."""

from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import ModelCard
from models.catalogue.catalogue import Catalogue
from models.catalogue.weights import DigestMismatch, WeightsMissing, check_size


@dataclass(frozen=True, kw_only=True)
class Present:
    """Every file of the card is there, with the length the card says."""

    word = "present"
    reason = ""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """The model is known, and a file of it or all of them are not here."""

    reason: str
    word = "missing"


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A file is there and is another one than the card says."""

    reason: str
    word = "wrong"


Presence = Present | Missing | Wrong


def judge_presence(catalogue: Catalogue, model_id: str) -> Presence:
    """What of a model is here.

    Raises:
        UnknownModel: nothing has this id.
    """
    described = catalogue.describe(model_id)
    if model_id not in catalogue.entries:
        return Missing(reason=f"never added; get it from {described.source}")
    return judge_files(catalogue.get(model_id), catalogue.folder(model_id))


def judge_files(card: ModelCard, folder: Path) -> Presence:
    """Whether the files of a card lie in a folder."""
    try:
        for file in card.files:
            check_size(file, folder)
    except WeightsMissing as error:
        return Missing(reason=str(error))
    except DigestMismatch as error:
        return Wrong(reason=str(error))
    return Present()
