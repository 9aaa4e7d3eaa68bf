"""Lists labelled images in folders and reads them only as they are needed; no torch.

The layout is `<root>/<train|test>/<class folder>/<image>` or `<root>/<class folder>/<image>`. A
`card.json` in the root may name the classes and the source of the images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.catalogue.cards import Preprocessing, TrainingSet
from models.catalogue.names import clean_name
from models.catalogue.texts import Template
from models.datasets.junk import is_junk
from models.datasets.training_images import Shots
from models.files.untrusted_text import one_line, parse_json
from models.imaging import Decoder, DecodingBounds, ImageError

CARD = "card.json"
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


class UnusableFolder(ValueError):
    """The folder has no labelled images in a known layout."""


class UnusableImage(ValueError):
    """A file cannot be read as an image. Its name may identify a patient, so only `path` has it."""

    def __init__(self, path: Path, *, place: str, reason: str) -> None:
        super().__init__(f"{place} cannot be used. {reason}")
        self.path = path


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a card may have more fields


class _Licence(_Part):
    id: str


class _Source(_Part):
    repo: str


class FolderCard(_Part):
    """The fields of a `card.json` that are used here; `classes` maps folders to names, in order."""

    name: str
    title: str = ""
    classes: Annotated[dict[str, str], Field(min_length=1)]
    prompt_template: Template
    licence: _Licence | None = None
    citation: tuple[str, ...] = ()
    sources: tuple[_Source, ...] = ()

    @property
    def training_set(self) -> TrainingSet:
        """The dataset as training data on a model's or a prompt's card."""
        return TrainingSet(
            name=self.title or self.name,
            licence=self.licence.id if self.licence else "",
            citation=" ".join(self.citation),
            source=", ".join(f"https://github.com/{source.repo}" for source in self.sources),
        )


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The files of one split, listed but not yet read.

    `files` and `classes` are in order of class, then of file name. `card` is None if there is no
    `card.json`. `left_out` counts the files that desktops leave in folders.
    """

    class_folders: tuple[str, ...]
    files: tuple[Path, ...]
    classes: npt.NDArray[np.int64]  # (N,)
    card: FolderCard | None
    left_out: int = 0

    def find_class_names(self) -> tuple[str, ...] | None:
        """Returns the card's class names, or else the folders' names; None if those are numbers."""
        if self.card is not None:
            return tuple(self.card.classes.values())
        return find_class_names(self.class_folders)

    def get_place(self, at: int) -> str:
        """Describes a file without its name, by its number in its class folder, starting from 1."""
        index = int(self.classes[at])
        number = at - int(np.flatnonzero(self.classes == index)[0]) + 1
        return f"File {number} of class folder {self.class_folders[index]!r}"

    def spread(self, count: int) -> list[int]:
        """The numbers of at most so many files, spread evenly over the folder and its classes."""
        most = min(count, len(self.files))
        return [place * len(self.files) // most for place in range(most)]

    def load(
        self,
        chosen: Iterable[int],
        preprocessing: Preprocessing,
        bounds: DecodingBounds | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Returns the chosen images, prepared for a model: uint8 (N, 3, size, size).

        Raises:
            UnusableImage: a file is not an image in an accepted format.
        """
        with Decoder(bounds=bounds) as decoder:
            return np.stack([self._load_one(int(at), preprocessing, decoder) for at in chosen])

    def load_shots(
        self, shots: Shots, preprocessing: Preprocessing, bounds: DecodingBounds | None = None
    ) -> npt.NDArray[np.uint8]:
        """Returns the images to learn from as `load` does; `shots` replaces what cannot be used.

        Raises:
            UnusableImage: too few images can be used.
        """
        read: dict[int, npt.NDArray[np.uint8]] = {}
        with Decoder(bounds=bounds) as decoder:
            for at in shots:
                try:
                    read[at] = self._load_one(at, preprocessing, decoder)
                except UnusableImage as error:
                    shots.replace(at, error)
        return np.stack([read[at] for at in shots.chosen.tolist()])

    def _load_one(
        self, at: int, preprocessing: Preprocessing, decoder: Decoder
    ) -> npt.NDArray[np.uint8]:
        path = self.files[at]
        try:
            return decoder.prepare(path.read_bytes(), preprocessing).input
        except ImageError as error:
            raise UnusableImage(path, place=self.get_place(at), reason=str(error)) from error


def list_images(
    root: Path, split: Split, class_folders: Sequence[str] | None = None
) -> ImageFolder:
    """Lists the images of a split, or all images if the root is not split.

    The class folders are the given ones, or else those of the card in its order, or else all
    folders in order of name. If all names are numbers, they are ordered as numbers. Hidden files,
    and those that `is_junk` knows, are left out.

    Raises:
        UnusableFolder: the folder does not exist, its card is not valid, or a class has no images.
    """
    if not root.is_dir():
        raise UnusableFolder(f"Expected a folder of images at {root}; there is none.")
    card = _load_card(root / CARD)
    home = _find_home(root, split)
    names = tuple(class_folders or (card.classes if card else _find_class_folders(home)))
    listed = [_list_files(home / name) for name in names]
    return ImageFolder(
        class_folders=names,
        files=tuple(file for files in listed for file in files),
        classes=np.repeat(np.arange(len(names)), [len(files) for files in listed]),
        card=card,
        left_out=sum(_count_junk(home / name) for name in names),
    )


def _load_card(path: Path) -> FolderCard | None:
    if not path.is_file():
        return None
    try:
        return FolderCard.model_validate(parse_json(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        raise UnusableFolder(f"The card {path} is not valid: {one_line(error)}") from error


def _find_home(root: Path, split: Split) -> Path:
    """Returns the folder that holds the class folders."""
    if not any((root / name).is_dir() for name in SPLITS):
        return root
    if not (root / split).is_dir():
        raise UnusableFolder(f"The folder {root} is split but has no {split!r} part.")
    return root / split


def _find_class_folders(home: Path) -> tuple[str, ...]:
    folders = [path.name for path in home.iterdir() if path.is_dir()]
    names = [name for name in folders if not (name.startswith("_") or is_junk(name))]
    if not names:
        raise UnusableFolder(f"Expected one folder for each class in {home}; there are none.")
    return order_classes(names)


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts class folders without duplicates: as numbers if all are numbers, else by name."""
    different = set(names)
    if all(name.isdecimal() for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def find_class_names(class_folders: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns the folders' names as words, or None if all are numbers."""
    if all(name.isdecimal() for name in class_folders):
        return None
    return tuple(clean_name(name.replace("_", " ")) for name in class_folders)


def _list_files(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [path for path in found if path.is_file() and not is_junk(path.name)]
    if not files:
        raise UnusableFolder(f"There are no images in {folder}.")
    return files


def _count_junk(folder: Path) -> int:
    return sum(path.is_file() and is_junk(path.name) for path in folder.iterdir())
