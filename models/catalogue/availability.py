"""Checks whether a model's weight files are present and have the right length; no torch.

Digests are checked only when a model is loaded.
"""

from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import ModelCard
from models.catalogue.catalogue import Catalogue
from models.catalogue.weights import DigestMismatch, WeightsMissing, check_size


@dataclass(frozen=True, kw_only=True)
class Present:
    """Every file on the card is present and has the length the card states."""

    word = "present"
    reason = ""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """The model is known, but at least one of its files is missing."""

    reason: str
    word = "missing"


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A file is present but is not the one the card names."""

    reason: str
    word = "wrong"


Presence = Present | Missing | Wrong


def judge_presence(catalogue: Catalogue, model_id: str) -> Presence:
    """Returns whether a model's files are present, missing or wrong.

    Raises:
        UnknownModel: no model has this id.
    """
    described = catalogue.describe(model_id)
    if model_id not in catalogue.entries:
        return Missing(reason=f"not added yet; get it from {described.source}")
    return judge_files(catalogue.get(model_id), catalogue.folder(model_id))


def judge_files(card: ModelCard, folder: Path) -> Presence:
    """Returns whether the files of a card are present in a folder."""
    try:
        for file in card.files:
            check_size(file, folder)
    except WeightsMissing as error:
        return Missing(reason=str(error))
    except DigestMismatch as error:
        return Wrong(reason=str(error))
    return Present()
