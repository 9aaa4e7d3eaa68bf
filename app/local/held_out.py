"""How often a learned prompt is right on the images that it was not learned from."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import numpy.typing as npt

from models.datasets.image_folder import ImageFolder
from models.imaging import ImageError
from models.vlm.base_classifier import BaseClassifier
from models.vlm.vlm import VLM
from worker.contract.image import Image
from worker.engine.shelf.identity import find_rows
from worker.evaluation.accuracy import Share
from worker.evaluation.loaded.clean import CleanImages
from worker.prepare import prepare_image

MOST_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The shares of images left over, without noise, that a prompt and the template get right."""

    prompt: Share
    template: Share


def measure_held_out(
    vlm: VLM,
    folder: ImageFolder,
    chosen: npt.NDArray[np.intp],
    *,
    prompt: BaseClassifier,
    template: BaseClassifier,
) -> HeldOut | None:
    """Tries both on images that were not chosen, from each class in turn, `MOST_IMAGES` at most.

    Files that hold no image are passed over. Returns None if every image was chosen.

    Args:
        vlm: the model.
        folder: the images of all classes.
        chosen: the places of those that were learned from.
        prompt, template: the two classifiers.
    """
    found = list(_read(vlm, folder, chosen))
    if not found:
        return None
    images, classes = zip(*found, strict=True)
    clean = CleanImages.encode_images(vlm, images, classes, find_rows(vlm))
    return HeldOut(prompt=clean.measure(prompt), template=clean.measure(template))


def _read(
    vlm: VLM, folder: ImageFolder, chosen: npt.NDArray[np.intp]
) -> Iterator[tuple[Image, int]]:
    """The images left over, prepared, with their classes."""
    read = 0
    for place in _take_turns(folder, chosen):
        if read == MOST_IMAGES:
            return
        try:
            image, _ = prepare_image(folder.files[place].read_bytes(), vlm.card)
        except ImageError:
            continue
        read += 1
        yield image, int(folder.classes[place])


def _take_turns(folder: ImageFolder, chosen: npt.NDArray[np.intp]) -> Iterator[int]:
    """The places of the images left over, one class after another."""
    left = np.setdiff1d(np.arange(len(folder.files)), chosen)
    by_class = [left[folder.classes[left] == one] for one in range(len(folder.class_folders))]
    turns = chain.from_iterable(zip_longest(*by_class))
    return (int(place) for place in turns if place is not None)
