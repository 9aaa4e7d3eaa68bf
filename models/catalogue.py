"""Which models there are, and where the files of each lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.cards import InvalidCard, ModelCard, load_card

_PACKAGE = Path(__file__).parent
_SHIPPED_CARDS = _PACKAGE / "cards"
_SHIPPED_FILES = {"bundled": _PACKAGE / "bundled" / "vlm"}


class UnknownModel(LookupError):
    """No model has this id."""

    def __init__(self, model_id: str, known: tuple[str, ...]) -> None:
        there_are = ", ".join(known) if known else "none"
        super().__init__(f"There is no model {model_id!r}; the models known here: {there_are}.")
        self.model_id = model_id
        self.known = known


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A card, its file, and the folder its weight files lie in (or are expected in)."""

    card: ModelCard
    path: Path
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The models of one installation, by id."""

    entries: Mapping[str, Entry]

    def get(self, model_id: str) -> ModelCard:
        """The card of a model.

        Raises:
            UnknownModel: no card has this id.
        """
        return self._entry(model_id).card

    def folder(self, model_id: str) -> Path:
        """The folder of a model's weight files; whether they are there, `models.weights` checks.

        Raises:
            UnknownModel: no card has this id.
        """
        return self._entry(model_id).folder

    def find_own_card(self, model_id: str) -> Path | None:
        """The card's file where the installation may change it; None for a card that ships.

        Raises:
            UnknownModel: no card has this id.
        """
        path = self._entry(model_id).path
        return None if path.parent == _SHIPPED_CARDS else path

    def list(self) -> tuple[ModelCard, ...]:
        """All cards, in order of their ids."""
        return tuple(self.entries[model_id].card for model_id in sorted(self.entries))

    def _entry(self, model_id: str) -> Entry:
        try:
            return self.entries[model_id]
        except KeyError:
            raise UnknownModel(model_id, tuple(sorted(self.entries))) from None


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Reads the cards that ship and those of the installation's own models folder.

    Own cards are `<folder>/<anything>/card.toml`, with the weight files beside the card, and
    `<folder>/<anything>.toml`, with the weight files in `<folder>/<id>/`.

    Raises:
        InvalidCard: a card is not valid, or two cards have the same id.
        NotADirectoryError: `folder` is given and is no folder.
    """
    entries: dict[str, Entry] = {}
    for path, entry in _find_entries(folder):
        if entry.card.id in entries:
            raise InvalidCard(path, f"the id {entry.card.id!r} belongs to another card already.")
        entries[entry.card.id] = entry
    return Catalogue(entries=entries)


def _find_entries(folder: Path | None) -> Iterator[tuple[Path, Entry]]:
    for path in sorted(_SHIPPED_CARDS.glob("*.toml")):
        card = load_card(path)
        yield path, Entry(card=card, path=path, folder=_SHIPPED_FILES[card.id])
    if folder is None:
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"The folder of models {folder} is not there, or is no folder.")
    for path in sorted(folder.glob("*/card.toml")):
        yield path, Entry(card=load_card(path), path=path, folder=path.parent)
    for path in sorted(folder.glob("*.toml")):
        card = load_card(path)
        yield path, Entry(card=card, path=path, folder=folder / card.id)
