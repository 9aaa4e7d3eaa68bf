"""Loads a folder of labelled images with a `card.json` into memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.catalogue.cards import Preprocessing
from models.datasets.image_folder import Split, UnusableFolder, list_images


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of one split, prepared for a model, with the names of their classes.

    `pixels` is uint8 (N, 3, size, size). `classes` is int64 (N,), indices into `class_names`.
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    pixels: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]


def load_image_set(folder: Path, split: Split, preprocessing: Preprocessing) -> ImageSet:
    """Reads `<folder>/<split>/<class>/<file>`, in order of class and file name.

    Raises:
        UnusableFolder: the folder, its `card.json` or a class folder is missing or empty.
        UnusableImage: a file is not an image.
    """
    listed = list_images(folder, split)
    if listed.card is None:
        raise UnusableFolder(f"Expected a card.json in {folder}; there is none.")
    return ImageSet(
        name=listed.card.name,
        class_names=tuple(listed.card.classes.values()),
        template=listed.card.prompt_template,
        pixels=listed.load(range(len(listed.files)), preprocessing),
        classes=listed.classes,
    )
