"""Which models there are, and where the files of each lie.

A card that ships without digests describes a model whose weights never come with the service. It is
*known*: it can be listed, and `promptsmooth models add` makes the installation's own card of it,
with digests, which then stands in its place.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.catalogue.cards import (
    InvalidCard,
    ModelCard,
    ModelDescription,
    load_card,
    load_description,
    read_card,
)
from models.files.untrusted_text import parse_toml

_CARD = "card.toml"
_PACKAGE = Path(__file__).parent.parent
_SHIPPED_CARDS = _PACKAGE / "shipped" / "cards"
_SHIPPED_FILES = {"bundled": _PACKAGE / "bundled" / "vlm"}


class UnknownModel(LookupError):
    """No model has this id."""

    def __init__(self, model_id: str, known: tuple[str, ...]) -> None:
        there_are = ", ".join(known) if known else "none"
        super().__init__(f"There is no model {model_id!r}; the models known here: {there_are}.")
        self.model_id = model_id
        self.known = known


class ModelNotAdded(UnknownModel):
    """A model is described here and its weights have never been added."""

    def __init__(self, description: ModelDescription, known: tuple[str, ...]) -> None:
        super().__init__(description.id, known)
        self.args = (
            f"The model {description.id!r} is known, but its weights are not here: get them from "
            f"{description.source} and run: promptsmooth models add {description.id} PATH",
        )


class ModelNotValid(UnknownModel):
    """The card of a model cannot be used, so the model is not served."""

    def __init__(self, model_id: str, reason: InvalidCard, known: tuple[str, ...]) -> None:
        super().__init__(model_id, known)
        self.args = (f"The model {model_id!r} is not served: {reason}",)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A card, its file, and the folder its weight files lie in (or are expected in)."""

    card: ModelCard
    path: Path
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The models of one installation, by id.

    Attributes:
        entries: those with digests; whether the files are there, `availability` says.
        descriptions: those that ship as a description, whether or not they were added since.
        invalid: what is wrong with own cards that cannot be used, by the id that each would have.
    """

    entries: Mapping[str, Entry]
    descriptions: Mapping[str, ModelDescription] = field(default_factory=dict)
    invalid: Mapping[str, InvalidCard] = field(default_factory=dict)

    def get(self, model_id: str) -> ModelCard:
        """The card of a model.

        Raises:
            UnknownModel: no card has this id; ModelNotAdded where only a description has it,
                ModelNotValid where a card has it that cannot be used.
        """
        return self._entry(model_id).card

    def folder(self, model_id: str) -> Path:
        """The folder of a model's weight files; `weights` checks whether they are there.

        Raises:
            UnknownModel: no card has this id; ModelNotAdded where only a description has it,
                ModelNotValid where a card has it that cannot be used.
        """
        return self._entry(model_id).folder

    def describe(self, model_id: str) -> ModelDescription:
        """What ships about a model that `models add` can make a card of, or else its card.

        Raises:
            UnknownModel: nothing here has this id.
        """
        shipped = self.descriptions.get(model_id)
        return shipped if shipped is not None else self.get(model_id)

    def find_own_card(self, model_id: str) -> Path | None:
        """The card's file where the installation may change it; None for a card that ships.

        Raises:
            UnknownModel: no card has this id; ModelNotAdded where only a description has it,
                ModelNotValid where a card has it that cannot be used.
        """
        path = self._entry(model_id).path
        return None if path.parent == _SHIPPED_CARDS else path

    def check_addition(self, card: ModelCard, path: Path) -> None:
        """Passes when `card`, the file `path`, may become one of the installation's own.

        Raises:
            InvalidCard: its id belongs to another card, or its activation is not the known one.
        """
        if card.id in self.entries or card.id in self.invalid:
            raise InvalidCard(path, f"the id {card.id!r} belongs to another card already.")
        _check_activation(card, path, self.descriptions.get(card.id))

    def list(self) -> tuple[ModelCard, ...]:
        """All cards that can be loaded if their files are there, in order of their ids."""
        return tuple(self.entries[model_id].card for model_id in sorted(self.entries))

    def list_not_added(self) -> tuple[ModelDescription, ...]:
        """The models that are known and were never added, in order of their ids."""
        absent = sorted(self.descriptions.keys() - self.entries.keys() - self.invalid.keys())
        return tuple(self.descriptions[model_id] for model_id in absent)

    def _entry(self, model_id: str) -> Entry:
        try:
            return self.entries[model_id]
        except KeyError:
            usable = tuple(sorted(self.entries))
            if model_id in self.invalid:
                raise ModelNotValid(model_id, self.invalid[model_id], usable) from None
            if model_id in self.descriptions:
                raise ModelNotAdded(self.descriptions[model_id], usable) from None
            raise UnknownModel(model_id, usable) from None


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Reads the cards that ship and those of the installation's own models folder.

    Own cards are `<folder>/<anything>/card.toml`, with the weight files beside the card, and
    `<folder>/<anything>.toml`, with the weight files in `<folder>/<id>/`. Names that begin with a
    dot are left alone: they are not finished. An own card may have the id of a description that
    ships, and stands in its place.

    An own card that cannot be used (it is not valid, has another activation than the description it
    stands for, or an id that another card has too) makes its id unusable and no other: of two cards
    nobody can say which was meant.

    Raises:
        NotADirectoryError: `folder` is given and is no folder.
    """
    entries: dict[str, Entry] = {}
    descriptions: dict[str, ModelDescription] = {}
    invalid: dict[str, InvalidCard] = {}
    for path in sorted(_SHIPPED_CARDS.glob("*.toml")):
        shipped = load_description(path)
        if isinstance(shipped, ModelCard):
            entries[shipped.id] = Entry(card=shipped, path=path, folder=_SHIPPED_FILES[shipped.id])
        else:
            descriptions[shipped.id] = shipped
    catalogue = Catalogue(entries=entries, descriptions=descriptions, invalid=invalid)
    for path in _find_own(folder) if folder is not None else ():
        try:
            entry = _load_own(path)
            catalogue.check_addition(entry.card, path)
            entries[entry.card.id] = entry
        except InvalidCard as error:
            model_id = _find_id(path)
            entries.pop(model_id, None)
            invalid.setdefault(model_id, error)
    return catalogue


def _find_own(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise NotADirectoryError(
            f"The folder of models {folder} (PROMPTSMOOTH_MODELS) is not there, or is no folder; "
            "promptsmooth models add makes it."
        )
    yield from filter(_is_there, (place / _CARD for place in sorted(folder.glob("[!.]*"))))
    yield from sorted(folder.glob("[!.]*.toml"))


def _is_there(path: Path) -> bool:
    """Whether a card is there or may be: one that cannot be looked at is said, not passed over."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _load_own(path: Path) -> Entry:
    card = load_card(path)
    beside = path.name == _CARD
    return Entry(card=card, path=path, folder=path.parent if beside else path.parent / card.id)


def _find_id(path: Path) -> str:
    """The id that a card has, or else the one that its place gives it."""
    place = path.parent.name if path.name == _CARD else path.stem
    try:
        named = parse_toml(read_card(path)).get("id")
    except (OSError, ValueError):
        return place
    return named if isinstance(named, str) else place


def _check_activation(card: ModelCard, path: Path, described: ModelDescription | None) -> None:
    """The one thing about known weights that no tensor tells and no lab can wish otherwise."""
    pinned = described.activation if described is not None else None
    if pinned is not None and card.activation != pinned:
        raise InvalidCard(
            path,
            f"the weights of {card.id!r} were trained with the activation {pinned}, which the card "
            f"has to name; it names {card.activation or 'none'}.",
        )


def warn_of_cards(catalogue: Catalogue) -> None:
    """One line for each own card that cannot be used: its model is refused, all others served."""
    for model_id, error in sorted(catalogue.invalid.items()):
        fields = {"model": model_id, "reason": str(error)}
        logging.getLogger(__name__).warning("model_card_invalid", extra={"fields": fields})
