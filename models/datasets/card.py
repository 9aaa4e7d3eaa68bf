"""Dataset cards: the classes of a labelled image folder and how it was split; no torch.

A card states what a folder must hold; it contains no images. Cards are TOML files. A folder with a
`card.json`, or with only class folders, is described by a card too.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from models.catalogue.cards import Card
from models.catalogue.texts import Template, check_class_names
from models.datasets.image_folder import FolderCard, Split, UnusableFolder, list_images
from models.files.untrusted_text import one_line, parse_toml

_SHIPPED = Path(__file__).parent.parent / "shipped" / "datasets"


class InvalidDataset(ValueError):
    """A dataset card cannot be read or breaks a rule of `DatasetCard`."""


class UnknownDataset(LookupError):
    """No dataset card has this id."""

    def __init__(self, dataset_id: str, known: tuple[str, ...]) -> None:
        super().__init__(f"There is no dataset {dataset_id!r}. Known datasets: {', '.join(known)}.")


class DatasetClass(Card):
    """One class: the name of its folder and the name that is compared with images."""

    folder: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    name: str


def _check_classes(classes: tuple[DatasetClass, ...]) -> tuple[DatasetClass, ...]:
    check_class_names(tuple(one.name for one in classes))
    if len({one.folder for one in classes}) != len(classes):
        raise ValueError("each class must have its own folder")
    return classes


class DatasetCard(Card):
    """A dataset of labelled images in `<root>/<train|test>/<class folder>/<image>`.

    `classes` are in index order. `template` is None if only the model's own template is known.
    With `names_identify_images`, a file name identifies an image. A folder that has one name in two
    places was split by row instead of by image, and is refused.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
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
        """The names that are compared with images, in index order."""
        return tuple(one.name for one in self.classes)


def load_dataset_card(path: Path) -> DatasetCard:
    """Returns the card in a TOML file; an InvalidDataset error names the file."""
    try:
        return DatasetCard.model_validate(parse_toml(path.read_text(encoding="utf-8")))
    except (OSError, ValidationError, ValueError) as error:
        raise InvalidDataset(f"The dataset card {path} is not valid: {one_line(error)}") from error


def list_datasets() -> tuple[DatasetCard, ...]:
    """Returns the cards that ship, in order of id."""
    return tuple(load_dataset_card(path) for path in sorted(_SHIPPED.glob("*.toml")))


def get_dataset(dataset_id: str) -> DatasetCard:
    """Returns the card that ships under an id, or raises UnknownDataset."""
    cards = {card.id: card for card in list_datasets()}
    if dataset_id not in cards:
        raise UnknownDataset(dataset_id, tuple(cards))
    return cards[dataset_id]


def describe_folder(root: Path, split: Split) -> DatasetCard:
    """Returns a folder's card, from its `card.json` or else from the class folders of a split.

    Raises:
        UnusableFolder: the folder does not exist, its card is not valid, a class has no images, or
            the class names are unknown.
    """
    listed = list_images(root, split)
    names = listed.find_class_names()
    if names is None:
        raise UnusableFolder(
            f"The class folders of {root} are numbers, so the class names are unknown. Name the "
            "dataset's card, or add a card.json with class names to the folder."
        )
    classes = [
        DatasetClass(folder=folder, name=name)
        for folder, name in zip(listed.class_folders, names, strict=True)
    ]
    try:
        return _describe(root, listed.card, tuple(classes))
    except ValidationError as error:
        raise UnusableFolder(f"The folder {root} is not a dataset: {one_line(error)}") from error


def _describe(
    root: Path, card: FolderCard | None, classes: tuple[DatasetClass, ...]
) -> DatasetCard:
    told = None if card is None else card.training_set
    name = root.resolve().name if card is None else card.name
    return DatasetCard(
        id=re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "images",
        name=name if told is None else told.name,
        classes=classes,
        template=None if card is None else card.prompt_template,
        split="as the folder is",
        source="" if told is None else told.source,
        licence="" if told is None else told.licence,
    )
