"""Folders of labelled images, `<set>/<train|test>/<class>/<file>` with a `card.json`, in memory."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.cards import Preprocessing
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
        FileNotFoundError: the folder, its `card.json` or a class folder is missing or empty.
    """
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    pixels, classes = [], []
    for index, class_folder in enumerate(card["classes"]):
        files = sorted((folder / split / class_folder).iterdir())
        if not files:
            raise FileNotFoundError(f"There are no images in {folder / split / class_folder}.")
        images = (parse_image(file.read_bytes()) for file in files)
        pixels += [preprocess(image.pixels, preprocessing) for image in images]
        classes += [index] * len(files)
    return ImageSet(
        name=card["name"],
        class_names=tuple(card["classes"].values()),
        template=card["prompt_template"],
        pixels=np.stack(pixels),
        classes=np.array(classes, dtype=np.int64),
    )
