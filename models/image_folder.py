"""Labelled images on disk, `<root>/<train|test>/<class folder>/<image>`, listed in one fixed order.

What order the file system lists in changes nothing here. No torch.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from models.datasets import SPLITS, DatasetCard, InvalidDataset, is_class_folder

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm"})


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """A file and the index of its class; `name` is `<class folder>/<file>` on every system."""

    path: Path
    name: str
    class_index: int


ClassFiles = tuple[LabelledFile, ...]


def list_images(root: Path, card: DatasetCard, split: str) -> tuple[ClassFiles, ...]:
    """The images of one split: for each class of the card, its files by name.

    Files are told by their suffix, in any case; hidden ones are left out. A folder without `train`
    and `test` is one split, `test`.

    Raises:
        InvalidDataset: a class folder is missing or empty, a folder is of no class of the card, or
            an image lies in two places where the card says that names identify images.
    """
    folder = _find_split(root, split)
    known = {one.folder for one in card.classes}
    strange = sorted(p.name for p in folder.iterdir() if is_class_folder(p) and p.name not in known)
    if strange:
        raise InvalidDataset(
            f"The classes of {card.id} lie in the folders {', '.join(sorted(known))}; "
            f"{folder} has the folder {strange[0]!r} too. Remove it, or name another dataset."
        )
    if card.names_identify_images:
        _require_unique_names(root, card)
    return tuple(_list_class(folder, one.folder, i) for i, one in enumerate(card.classes))


def _find_split(root: Path, split: str) -> Path:
    if (root / split).is_dir():
        return root / split
    if split == "test" and root.is_dir() and not any((root / name).is_dir() for name in SPLITS):
        return root
    raise InvalidDataset(f"Class folders were expected in {root / split}; there is no such folder.")


def _list_class(folder: Path, class_folder: str, class_index: int) -> ClassFiles:
    found = _list_names(folder / class_folder)
    if not found:
        raise InvalidDataset(
            f"Images ({', '.join(sorted(SUFFIXES))}) were expected in {folder / class_folder}; "
            "there are none."
        )
    return tuple(
        LabelledFile(
            path=folder / class_folder / name,
            name=f"{class_folder}/{name}",
            class_index=class_index,
        )
        for name in found
    )


def _list_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if _is_image(p))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _require_unique_names(root: Path, card: DatasetCard) -> None:
    """InvalidDataset where one image lies in both splits, or in two classes of one."""
    folders = [root / split / one.folder for split in SPLITS for one in card.classes]
    folders += [root / one.folder for one in card.classes]
    names = Counter(Path(name).stem for folder in folders for name in _list_names(folder))
    repeated = sorted(name for name, times in names.items() if times > 1)
    if repeated:
        raise InvalidDataset(
            f"{card.id} is split by image, so that every image lies in one folder; "
            f"{len(repeated)} lie in several, {repeated[0]!r} first. Split the list of images, not "
            "the list of rows."
        )
