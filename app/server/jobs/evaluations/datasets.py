"""The datasets that an operator keeps with the service: folders of class folders, by name."""

import re
from pathlib import Path

from app.request.refusal import FieldInvalid
from app.settings import AppSettings
from models.datasets.card import DatasetCard, describe_folder
from models.datasets.files import LabelledFile, list_dataset
from models.datasets.image_folder import SPLITS, Split, UnusableFolder
from models.datasets.subset import choose_subset

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def list_names(settings: AppSettings) -> tuple[str, ...]:
    """The names of the datasets; none where the operator names no folder."""
    root = settings.datasets
    if root is None or not root.is_dir():
        return ()
    return tuple(sorted(one.name for one in root.iterdir() if _is_dataset(one)))


def list_splits(settings: AppSettings, name: str) -> tuple[Split, ...]:
    """The parts that a dataset has."""
    root = _find_root(settings, name)
    return tuple(split for split in SPLITS if (root / split).is_dir())


def choose_files(
    settings: AppSettings, name: str, split: Split, images: int, *, seed: int
) -> tuple[DatasetCard, tuple[LabelledFile, ...]]:
    """A dataset's card and the files chosen from it, by the rules of `promptsmooth evaluate`.

    Raises:
        FieldInvalid: there is no such dataset or part, or it cannot be used.
    """
    root = _find_root(settings, name)
    if split not in list_splits(settings, name):
        raise FieldInvalid("split", f"a part that the dataset {name} has")
    try:
        card = describe_folder(root, split)
        files = choose_subset(list_dataset(root, card, split), images, seed=seed)
        "".join(file.name for file in files).encode()
        return card, files
    except (UnusableFolder, UnicodeEncodeError):
        raise FieldInvalid(
            "dataset",
            "one with images in class folders whose names, or whose card.json, name the classes, "
            "all in UTF-8",
        ) from None


class FileGone(LookupError):
    """A chosen file is not there any more, although its dataset is."""


def read_file(settings: AppSettings, name: str, split: Split, file: str) -> bytes:
    """The content of a chosen file. Its name was listed by us and is not a caller's.

    Raises:
        FileGone: there is no such file in the dataset.
        OSError: it cannot be read now; nor can it where the dataset is not mounted.
    """
    if settings.datasets is None:
        raise FileNotFoundError(name)
    folder = settings.datasets / name / split
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError:
        if folder.is_dir():
            raise FileGone from None
        raise


def _find_root(settings: AppSettings, name: str) -> Path:
    root = settings.datasets
    if root is None or not _NAME.fullmatch(name) or not _is_dataset(root / name):
        known = ", ".join(list_names(settings)) or "none is kept here"
        raise FieldInvalid("dataset", f"one of: {known}")
    return root / name


def _is_dataset(folder: Path) -> bool:
    return bool(_NAME.fullmatch(folder.name)) and any((folder / one).is_dir() for one in SPLITS)
