"""Labelled images for prompt learning, and the choice of a few images per class; no torch."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingImages:
    """Images prepared for a model, uint8 (N, 3, S, S), and their classes, int64 (N,), from 0.

    Both arrays are read-only copies. `sha256` identifies the images and classes in their order.
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
                f"Training images must be uint8 of shape (N, 3, S, S); got {self.pixels.dtype} of "
                f"shape {shape}."
            )
        if self.classes.dtype != np.int64 or self.classes.shape != shape[:1]:
            raise ValueError(
                f"The classes of {shape[0]} images must be int64 of shape ({shape[0]},); got "
                f"{self.classes.dtype} of shape {self.classes.shape}."
            )
        if not len(self.classes) or self.classes.min() < 0:
            raise ValueError("Expected at least one training image, with classes counted from 0.")
        for name in ("pixels", "classes"):
            owned = np.array(getattr(self, name), order="C")
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def size(self) -> int:
        """Height and width of each image in pixels."""
        return int(self.pixels.shape[2])

    @property
    def sha256(self) -> str:
        """SHA-256 of the shape, the pixels and the classes."""
        head = json.dumps({"shape": list(self.pixels.shape)})
        digest = hashlib.sha256(f"promptsmooth training images 1\n{head}\n".encode())
        digest.update(self.pixels.tobytes())
        digest.update(self.classes.astype("<i8").tobytes())
        return digest.hexdigest()


def count_classes(classes: npt.NDArray[np.int64], num_classes: int) -> list[int]:
    """Returns the number of images in each of the classes 0 … num_classes - 1."""
    return [int(count) for count in np.bincount(classes, minlength=num_classes)]


def choose_shots(
    classes: npt.NDArray[np.int64],
    shots: int,
    seed: int,
    class_folders: Sequence[str] = (),
    *,
    without: Collection[int] = (),
) -> npt.NDArray[np.intp]:
    """Chooses the images to learn from: `shots` of each class, in their original order.

    The choice depends only on the seed and on where each class's images are. An image is chosen if
    the digest of the seed, its class and its number within the class is among the lowest.

    Args:
        classes: the class of each image.
        shots: how many images to choose of each class.
        seed: fixes the choice.
        class_folders: the folders of the classes, for the message.
        without: images that are passed over, as if they ranked last.

    Raises:
        ValueError: there is only one class, or a class has fewer than `shots` images.
    """
    counts = count_classes(classes, 1)
    if len(counts) < 2:
        raise ValueError("A prompt is learned from at least two classes; got images of one.")
    chosen: list[np.intp] = []
    for index, count in enumerate(counts):
        if count < shots:
            which = f"the folder {class_folders[index]!r}" if class_folders else f"class {index}"
            raise ValueError(
                f"Each class needs {shots} images, one for each shot; {which} has {count}. "
                "Add images or ask for fewer shots."
            )
        ranks = sorted(range(count), key=lambda number: _rank(seed, index, number))
        places = np.flatnonzero(classes == index)[ranks]
        chosen += [at for at in places if at not in without][:shots]
    if len(chosen) < shots * len(counts):
        raise ValueError(f"Each class needs {shots} images that can be used; one has fewer.")
    return np.sort(np.array(chosen, dtype=np.intp))


class Shots:
    """The images to learn from, where others of the same class replace those that cannot be used.

    The choice depends only on what `choose_shots` takes and on which images cannot be used.

    Attributes:
        chosen: the places of the images, ascending; a replacement changes them.
        unusable: why images were replaced, by their places.
    """

    def __init__(
        self,
        classes: npt.NDArray[np.int64],
        shots: int,
        seed: int,
        class_folders: Sequence[str] = (),
    ) -> None:
        self._choose = partial(choose_shots, classes, shots, seed, class_folders)
        self.chosen = self._choose()
        self.unusable: dict[int, Exception] = {}

    def __iter__(self) -> Iterator[int]:
        """Yields each place to read once, those that replace others included."""
        seen: set[int] = set()
        while unread := [at for at in self.chosen.tolist() if at not in seen]:
            seen.add(unread[0])
            yield unread[0]

    def replace(self, at: int, error: Exception) -> None:
        """Passes over an image, for the next one of its class in the order of the seed.

        Raises:
            Exception: the first image's error, where its class has no further image, or where more
                images cannot be used than are to be learned from.
        """
        self.unusable[at] = error
        first = next(iter(self.unusable.values()))
        if len(self.unusable) > len(self.chosen):
            raise first
        try:
            self.chosen = self._choose(without=self.unusable)
        except ValueError:
            raise first from None


def _rank(seed: int, class_index: int, number: int) -> bytes:
    """Returns a pseudorandom rank that does not depend on any library's version."""
    return hashlib.sha256(f"promptsmooth shots 1 {seed} {class_index} {number}".encode()).digest()
