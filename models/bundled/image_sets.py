"""Folders of labelled images, `<set>/<train|test>/<class>/<file>` with a `card.json`, in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.cards import Preprocessing
from models.datasets import InvalidDataset, describe_folder
from models.image_folder import list_images
from models.imaging import parse_image, preprocess


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


def load_image_set(folder: Path, split: str, preprocessing: Preprocessing) -> ImageSet:
    """Reads one split in order of class and file name.

    Raises:
        InvalidDataset: the folder or its card is missing, or a class folder is missing or empty.
    """
    card = describe_folder(folder)
    if card.template is None:
        raise InvalidDataset(f"A card.json with a prompt_template was expected in {folder}.")
    files = [file for files in list_images(folder, card, split) for file in files]
    images = (parse_image(file.path.read_bytes()) for file in files)
    return ImageSet(
        name=card.id,
        class_names=card.class_names,
        template=card.template,
        pixels=np.stack([preprocess(image.pixels, preprocessing) for image in images]),
        classes=np.array([file.class_index for file in files], dtype=np.int64),
    )
