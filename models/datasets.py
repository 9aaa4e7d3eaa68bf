"""Dataset cards: the classes of a labelled folder of images, their words, and how it was split.

A card says what a folder must hold; no image comes with it. Cards are TOML; the `card.json` of an
image set and a plain folder of class folders are read to the same value. No torch.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.cards import Template, check_class_names

_SHIPPED = Path(__file__).parent / "datasets"
SPLITS = ("train", "test")


class InvalidDataset(ValueError):
    """A card, or the folder it is about, that is not as it must be."""


class UnknownDataset(LookupError):
    """No dataset card has this id."""

    def __init__(self, dataset_id: str, known: tuple[str, ...]) -> None:
        super().__init__(f"There is no dataset {dataset_id!r}; there are {', '.join(known)}.")


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetClass(_Card):
    """One class: the name of its folder, and the name that is compared with an image."""

    folder: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    name: str


def _check_classes(classes: tuple[DatasetClass, ...]) -> tuple[DatasetClass, ...]:
    check_class_names(tuple(one.name for one in classes))
    if len({one.folder for one in classes}) != len(classes):
        raise ValueError("each class has a folder of its own")
    return classes


class DatasetCard(_Card):
    """A dataset of labelled images in `<root>/<train|test>/<class folder>/<image>`.

    `classes` stand in index order. `template` is None where only the model's own is known.
    With `names_identify_images` a file's name names its image, so that one name in two places of
    the folder is an image that was split by row, and the folder is refused.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    name: str
    description: str = ""
    classes: Annotated[tuple[DatasetClass, ...], AfterValidator(_check_classes)]
    template: Template | None = None
    split: str
    names_identify_images: bool = False
    source: str
    licence: str
    citations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in index order, as they are compared with an image."""
        return tuple(one.name for one in self.classes)


def load_dataset_card(path: Path) -> DatasetCard:
    """The card in a TOML file. InvalidDataset when it is none; the sentence names the file."""
    try:
        return DatasetCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValidationError, ValueError) as error:
        raise InvalidDataset(_sentence(path, error)) from error


def list_datasets() -> tuple[DatasetCard, ...]:
    """The cards that ship, in order of their ids."""
    return tuple(load_dataset_card(path) for path in sorted(_SHIPPED.glob("*.toml")))


def get_dataset(dataset_id: str) -> DatasetCard:
    """The card that ships under an id. UnknownDataset when there is none."""
    cards = {card.id: card for card in list_datasets()}
    if dataset_id not in cards:
        raise UnknownDataset(dataset_id, tuple(cards))
    return cards[dataset_id]


def describe_folder(root: Path) -> DatasetCard:
    """The card that a folder brings as `card.json`, else one made from its class folders.

    Raises:
        InvalidDataset: there is no such folder, its card is none, or it holds fewer than two class
            folders.
    """
    if not root.is_dir():
        raise InvalidDataset(f"A folder of images was expected at {root}; there is none.")
    path = root / "card.json"
    try:
        return _parse_json_card(path) if path.is_file() else _describe_plain(root)
    except (KeyError, TypeError, AttributeError, OSError, ValidationError, ValueError) as error:
        raise InvalidDataset(_sentence(path if path.is_file() else root, error)) from error


def _parse_json_card(path: Path) -> DatasetCard:
    """The card of an image set: `classes` maps folders to names in index order."""
    card = json.loads(path.read_text(encoding="utf-8"))
    return DatasetCard(
        id=card["name"],
        name=card.get("title", card["name"]),
        classes=tuple(DatasetClass(folder=f, name=n) for f, n in card["classes"].items()),
        template=card.get("prompt_template"),
        split=card.get("split", "as the folder is"),
        source="; ".join(_describe_source(one) for one in card.get("sources", ())) or str(path),
        licence=_describe_licence(card.get("licence", "not stated")),
        citations=tuple(card.get("citation", ())),
    )


def _describe_source(source: Mapping[str, Any] | str) -> str:
    return source if isinstance(source, str) else str(source.get("repo", source))


def _describe_licence(licence: Mapping[str, Any] | str) -> str:
    return licence if isinstance(licence, str) else str(licence.get("id", licence))


def _describe_plain(root: Path) -> DatasetCard:
    """A folder without a card: class folders in order, named like their folders."""
    inner = next((root / split for split in ("test", "train") if (root / split).is_dir()), root)
    folders = order_folders(path.name for path in inner.iterdir() if is_class_folder(path))
    return DatasetCard(
        id=re.sub(r"[^A-Za-z0-9._ -]+|^[^A-Za-z0-9]+", "", root.resolve().name)[:64] or "images",
        name=root.resolve().name,
        classes=tuple(DatasetClass(folder=f, name=f.replace("_", " ")) for f in folders),
        split="as the folder is",
        source="a folder of images without a card",
        licence="not stated",
    )


def is_class_folder(path: Path) -> bool:
    """Whether a path is a folder that can be a class; hidden ones cannot."""
    return path.is_dir() and not path.name.startswith(".")


def order_folders(names: Iterable[str]) -> tuple[str, ...]:
    """Class folders in index order: as numbers where all are numbers, else by name."""
    found = sorted(names)
    numbers = all(name.isascii() and name.isdigit() for name in found)
    return tuple(sorted(found, key=int) if numbers else found)


def _sentence(path: Path, error: Exception) -> str:
    reason = re.sub(r"\s+", " ", str(error))
    if isinstance(error, KeyError):
        reason = f"the field {reason} is missing"
    return f"The dataset at {path} is not valid: {reason}"
