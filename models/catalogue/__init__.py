"""What a model is, which there are, and whether the files of each are at hand. No torch."""

from models.catalogue.catalogue import (
    Catalogue,
    Entry,
    ModelNotAdded,
    ModelNotValid,
    UnknownModel,
    load_catalogue,
    warn_of_cards,
)

__all__ = [
    "Catalogue",
    "Entry",
    "ModelNotAdded",
    "ModelNotValid",
    "UnknownModel",
    "load_catalogue",
    "warn_of_cards",
]
