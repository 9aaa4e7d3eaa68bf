"""The catalogue of models: which models there are and where their files are.

A card that ships without digests describes a model whose weights do not come with the service. Such
a model is *known*: it can be listed, and `promptsmooth models add` creates the installation's own
card for it, with digests. That card then replaces the description.
"""

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
from models.catalogue.retired import Retirement, find_retirement
from models.files.untrusted_text import parse_toml
from models.log import get_logger

_CARD = "card.toml"
_PACKAGE = Path(__file__).parent.parent
_SHIPPED_CARDS = _PACKAGE / "shipped" / "cards"
_SHIPPED_FILES = {"bundled-2": _PACKAGE / "bundled" / "vlm"}


class UnknownModel(LookupError):
    """No model has this id."""

    def __init__(self, model_id: str, known: tuple[str, ...]) -> None:
        there_are = ", ".join(known) if known else "none"
        super().__init__(f"There is no model {model_id!r}. Known models: {there_are}.")


class ModelNotAdded(UnknownModel):
    """A model is described here, but its weights were never added."""

    def __init__(self, description: ModelDescription, known: tuple[str, ...]) -> None:
        super().__init__(description.id, known)
        self.args = (
            f"The weights of the model {description.id!r} have not been added. Get them from "
            f"{description.source} and run: promptsmooth models add {description.id} PATH",
        )


class ModelNotValid(UnknownModel):
    """A model's card cannot be used, so the model is not served."""

    def __init__(self, model_id: str, reason: InvalidCard, known: tuple[str, ...]) -> None:
        super().__init__(model_id, known)
        self.args = (f"The model {model_id!r} is not served: {reason}",)


class ModelRetired(UnknownModel):
    """A model no longer ships, and its id is not used again."""

    def __init__(self, retirement: Retirement, known: tuple[str, ...]) -> None:
        super().__init__(retirement.model_id, known)
        self.args = (str(retirement),)


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A card, its file, and the folder where its weight files are or should be."""

    card: ModelCard
    path: Path
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The models of one installation, by id.

    Attributes:
        entries: cards with digests. Their files may be missing; `availability` checks that.
        descriptions: the descriptions that ship, including those of models added since.
        invalid: for each of the installation's cards that cannot be used, its id and what is wrong.
    """

    entries: Mapping[str, CatalogueEntry]
    descriptions: Mapping[str, ModelDescription] = field(default_factory=dict)
    invalid: Mapping[str, InvalidCard] = field(default_factory=dict)

    def get(self, model_id: str) -> ModelCard:
        """Returns the card of a model.

        Raises:
            UnknownModel: no card has this id. ModelNotAdded if only a description has it,
                ModelNotValid if its card cannot be used, ModelRetired if it no longer ships.
        """
        return self._entry(model_id).card

    def folder(self, model_id: str) -> Path:
        """Returns the folder of a model's weight files, which `weights` can check.

        Raises:
            UnknownModel: no card has this id. ModelNotAdded if only a description has it,
                ModelNotValid if its card cannot be used.
        """
        return self._entry(model_id).folder

    def describe(self, model_id: str) -> ModelDescription:
        """Returns the description that ships for a model, or its card if there is none.

        Raises:
            UnknownModel: no model has this id.
        """
        shipped = self.descriptions.get(model_id)
        return shipped if shipped is not None else self.get(model_id)

    def find_own_card(self, model_id: str) -> Path | None:
        """Returns the card's file if it is the installation's own; None for a card that ships.

        Raises:
            UnknownModel: no card has this id. ModelNotAdded if only a description has it,
                ModelNotValid if its card cannot be used.
        """
        path = self._entry(model_id).path
        return None if path.parent == _SHIPPED_CARDS else path

    def check_addition(self, card: ModelCard, path: Path) -> None:
        """Passes if `card`, in the file `path`, may be added to the installation.

        Raises:
            InvalidCard: another card has its id, a retired model had it, or its activation is not
                the known one.
        """
        if (retired := find_retirement(card.id)) is not None:
            raise InvalidCard(path, f"its id {card.id!r} cannot be used again. {retired}")
        if card.id in self.entries or card.id in self.invalid:
            raise InvalidCard(path, f"another card already has the id {card.id!r}.")
        _check_activation(card, path, self.descriptions.get(card.id))

    def list(self) -> tuple[ModelCard, ...]:
        """All cards with digests, in order of id; their files may still be missing."""
        return tuple(self.entries[model_id].card for model_id in sorted(self.entries))

    def list_not_added(self) -> tuple[ModelDescription, ...]:
        """The models that are known but were never added, in order of id."""
        absent = sorted(self.descriptions.keys() - self.entries.keys() - self.invalid.keys())
        return tuple(self.descriptions[model_id] for model_id in absent)

    def _entry(self, model_id: str) -> CatalogueEntry:
        try:
            return self.entries[model_id]
        except KeyError:
            usable = tuple(sorted(self.entries))
            if model_id in self.invalid:
                raise ModelNotValid(model_id, self.invalid[model_id], usable) from None
            if model_id in self.descriptions:
                raise ModelNotAdded(self.descriptions[model_id], usable) from None
            if (retired := find_retirement(model_id)) is not None:
                raise ModelRetired(retired, usable) from None
            raise UnknownModel(model_id, usable) from None


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Reads the cards that ship and the cards in the installation's models folder.

    The installation's cards are `<folder>/<anything>/card.toml`, with the weight files beside the
    card, and `<folder>/<anything>.toml`, with the weight files in `<folder>/<id>/`. Names that
    start with a dot are skipped, because they are unfinished. A card may have the id of a
    description that ships, and then replaces it.

    A card cannot be used if it is not valid, if its activation differs from the description it
    replaces, or if another card has the same id. Only that id then becomes unusable: with two cards
    for one id, nobody can tell which was meant.

    Raises:
        NotADirectoryError: `folder` is given but is not a folder.
    """
    entries: dict[str, CatalogueEntry] = {}
    descriptions: dict[str, ModelDescription] = {}
    invalid: dict[str, InvalidCard] = {}
    for path in sorted(_SHIPPED_CARDS.glob("*.toml")):
        shipped = load_description(path)
        if isinstance(shipped, ModelCard):
            entries[shipped.id] = CatalogueEntry(
                card=shipped, path=path, folder=_SHIPPED_FILES[shipped.id]
            )
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
            f"The models folder {folder} (PROMPTSMOOTH_MODELS) does not exist or is not a folder. "
            "To create it, run promptsmooth models add."
        )
    yield from filter(_is_there, (place / _CARD for place in sorted(folder.glob("[!.]*"))))
    yield from sorted(folder.glob("[!.]*.toml"))


def _is_there(path: Path) -> bool:
    """Whether a card exists or may exist: one that cannot be accessed is reported."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _load_own(path: Path) -> CatalogueEntry:
    card = load_card(path)
    beside = path.name == _CARD
    return CatalogueEntry(
        card=card, path=path, folder=path.parent if beside else path.parent / card.id
    )


def _find_id(path: Path) -> str:
    """Returns the id in a card, or else the id implied by its location."""
    place = path.parent.name if path.name == _CARD else path.stem
    try:
        named = parse_toml(read_card(path)).get("id")
    except (OSError, ValueError):
        return place
    return named if isinstance(named, str) else place


def _check_activation(card: ModelCard, path: Path, described: ModelDescription | None) -> None:
    """Checks the one property of known weights that tensors do not show and no lab may change."""
    pinned = described.activation if described is not None else None
    if pinned is not None and card.activation != pinned:
        raise InvalidCard(
            path,
            f"the weights of {card.id!r} were trained with the activation {pinned}, so the card "
            f"must name {pinned}; it names {card.activation or 'none'}.",
        )


def warn_of_cards(catalogue: Catalogue) -> None:
    """One line for each own card that cannot be used: its model is refused, all others served."""
    for model_id, error in sorted(catalogue.invalid.items()):
        get_logger(__name__).warning("model_card_invalid", model=model_id, reason=str(error))
