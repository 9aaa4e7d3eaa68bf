"""Folders of labelled images, `<set>/<train|test>/<class>/<file>` with a `card.json`, in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.catalogue.cards import Preprocessing
from models.datasets.image_folder import Split, UnusableFolder, list_images


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of one split, prepared for a model, with what they are called.

    `pixels` is uint8, (N, 3, size, size); `classes` is int64, (N,), an index into `class_names`.
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    pixels: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]


def load_image_set(folder: Path, split: Split, preprocessing: Preprocessing) -> ImageSet:
    """Reads one split in order of class and file name.

    Raises:
        UnusableFolder: the folder, its `card.json` or a class folder is missing or empty.
        UnusableImage: a file is no image.
    """
    listed = list_images(folder, split)
    if listed.card is None:
        raise UnusableFolder(f"A card.json was expected in {folder}; there is none.")
    return ImageSet(
        name=listed.card.name,
        class_names=tuple(listed.card.classes.values()),
        template=listed.card.prompt_template,
        pixels=listed.load(range(len(listed.files)), preprocessing),
        classes=listed.classes,
    )
