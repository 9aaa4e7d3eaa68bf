"""Labelled images that a prompt is learned from, and the choice of a few a class. No torch."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingImages:
    """Images prepared for a model, uint8 (N, 3, S, S), and their classes, int64 (N,), from 0.

    Nobody can write to either. `sha256` identifies them, in their order.
    """

    pixels: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if (
            self.pixels.dtype != np.uint8
            or len(shape) != 4
            or shape[1] != 3
            or shape[2] != shape[3]
        ):
            raise ValueError(
                f"Training images are uint8 of shape (N, 3, S, S); {self.pixels.dtype} of shape "
                f"{shape} came."
            )
        if self.classes.dtype != np.int64 or self.classes.shape != shape[:1]:
            raise ValueError(
                f"The classes of {shape[0]} images are int64 of shape ({shape[0]},); "
                f"{self.classes.dtype} of shape {self.classes.shape} came."
            )
        if not len(self.classes) or self.classes.min() < 0:
            raise ValueError("There is at least one training image, and classes count from 0.")
        for name in ("pixels", "classes"):
            owned = np.array(getattr(self, name), order="C")
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def size(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.pixels.shape[2])

    @property
    def sha256(self) -> str:
        """SHA-256 over the shape, the pixels and the classes."""
        head = json.dumps({"shape": list(self.pixels.shape)})
        digest = hashlib.sha256(f"promptsmooth training images 1\n{head}\n".encode())
        digest.update(self.pixels.tobytes())
        digest.update(self.classes.astype("<i8").tobytes())
        return digest.hexdigest()


def count_classes(classes: npt.NDArray[np.int64], num_classes: int) -> list[int]:
    """How many images each of the classes 0 … num_classes - 1 has."""
    return [int(count) for count in np.bincount(classes, minlength=num_classes)]


def choose_shots(classes: npt.NDArray[np.int64], shots: int, seed: int) -> npt.NDArray[np.intp]:
    """Which images to learn from: `shots` of each class, in the order they come in.

    A function of the places of each class's images and the seed alone: an image is chosen when the
    digest of seed, class and its number within the class is among the lowest.

    Raises:
        ValueError: there is one class only, or a class has fewer images than shots.
    """
    counts = count_classes(classes, 1)
    if len(counts) < 2:
        raise ValueError("A prompt is learned from at least two classes; images of one came.")
    chosen: list[np.intp] = []
    for index, count in enumerate(counts):
        if count < shots:
            raise ValueError(
                f"Each class needs {shots} images, one a shot; class {index} has {count}. "
                "Add images or ask for fewer shots."
            )
        ranks = sorted(range(count), key=lambda number: _rank(seed, index, number))
        chosen += list(np.flatnonzero(classes == index)[ranks[:shots]])
    return np.sort(np.array(chosen, dtype=np.intp))


def _rank(seed: int, class_index: int, number: int) -> bytes:
    """A draw that no library's version can change."""
    return hashlib.sha256(f"promptsmooth shots 1 {seed} {class_index} {number}".encode()).digest()
