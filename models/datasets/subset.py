"""Which test images are evaluated: the classes in turn, in an order that a seed fixes."""

import hashlib
from collections.abc import Sequence
from itertools import chain, islice, zip_longest

from models.datasets.files import ClassFiles, LabelledFile

PUBLISHED_SEED = 3


def choose_subset(
    classes: Sequence[ClassFiles], images: int, *, seed: int = PUBLISHED_SEED
) -> tuple[LabelledFile, ...]:
    """`images` files, one of each class in turn until they are enough or there are no more.

    A class that runs short leaves the others their turns. Within a class files stand in order of a
    digest of the seed and their names, so neither the file system, nor the platform, nor a version
    of a random generator can change the choice, and a smaller choice is the beginning of a larger.

    Args:
        classes: the files of each class.
        images: how many, at least 1.
        seed: names the order.
    """
    if images < 1:
        raise ValueError(f"at least one image is evaluated, got {images}")

    def place(file: LabelledFile) -> bytes:
        return hashlib.sha256(f"{seed}/{file.name}".encode()).digest()

    turns = zip_longest(*(sorted(files, key=place) for files in classes))
    return tuple(islice((file for file in chain.from_iterable(turns) if file), images))


def listing_sha256(files: Sequence[LabelledFile]) -> str:
    """Identifies chosen files: their order, names, classes and contents."""
    digest = hashlib.sha256(b"promptsmooth listing 1\n")
    for file in files:
        content = hashlib.sha256(file.path.read_bytes()).hexdigest()
        digest.update(f"{file.class_index} {content} {file.name}\n".encode())
    return digest.hexdigest()
