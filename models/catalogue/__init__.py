"""Model cards, the catalogue of models and checks of their weight files; no torch."""

from models.catalogue.catalogue import (
    Catalogue,
    ModelNotAdded,
    ModelNotValid,
    ModelRetired,
    UnknownModel,
    load_catalogue,
    warn_of_cards,
)

__all__ = [
    "Catalogue",
    "ModelNotAdded",
    "ModelNotValid",
    "ModelRetired",
    "UnknownModel",
    "load_catalogue",
    "warn_of_cards",
]
