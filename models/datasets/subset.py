"""Chooses the test images to evaluate: one class after another, in an order fixed by a seed."""

import hashlib
from collections.abc import Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from models.datasets.files import ClassFiles, LabelledFile

PUBLISHED_SEED = 3


def choose_subset(
    classes: Sequence[ClassFiles], images: int, *, seed: int = PUBLISHED_SEED
) -> tuple[LabelledFile, ...]:
    """Returns `images` files, taken from each class in turn until there are enough or none is left.

    A class that runs out is skipped. Within a class, files are sorted by a digest of the seed and
    the file name. The choice therefore does not depend on the file system, the platform or the
    version of a random generator, and a smaller choice is the beginning of a larger one.

    Args:
        classes: the files of each class.
        images: how many files to choose, at least 1.
        seed: fixes the order.
    """
    if images < 1:
        raise ValueError(f"expected at least one image to evaluate, got {images}")

    def place(file: LabelledFile) -> bytes:
        return hashlib.sha256(f"{seed}/{file.name}".encode(errors="surrogateescape")).digest()

    turns = zip_longest(*(sorted(files, key=place) for files in classes))
    return tuple(islice((file for file in chain.from_iterable(turns) if file), images))


def listing_sha256(files: Sequence[LabelledFile]) -> str:
    """Identifies the chosen files by their order, names, classes and contents."""
    return digest_listing(files, [content_sha256(file.path) for file in files])


def content_sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_listing(files: Sequence[LabelledFile], contents: Sequence[str]) -> str:
    """`listing_sha256` of files whose contents have these digests."""
    digest = hashlib.sha256(b"promptsmooth listing 1\n")
    for file, content in zip(files, contents, strict=True):
        line = f"{file.class_index} {content} {file.name}\n"
        digest.update(line.encode(errors="surrogateescape"))  # names need not be UTF-8
    return digest.hexdigest()
