"""Lists the files of one split of a dataset, class by class; no torch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.datasets.card import DatasetCard
from models.datasets.image_folder import SPLITS, ImageFolder, Split, UnusableFolder, list_images


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """A file and the index of its class; `name` is `<class folder>/<file>` on every platform."""

    path: Path
    name: str
    class_index: int

    @property
    def shown_name(self) -> str:
        """The name as text; bytes that are not UTF-8 are escaped with a backslash."""
        return self.name.encode("utf-8", "backslashreplace").decode("utf-8")


ClassFiles = tuple[LabelledFile, ...]


def list_dataset(root: Path, card: DatasetCard, split: Split) -> tuple[ClassFiles, ...]:
    """Returns, for each class of the card, the files of one split in order of name.

    Raises:
        UnusableFolder: a class folder is missing or empty, or the card says that names identify
            images and one image is in two places.
    """
    folders = [one.folder for one in card.classes]
    listed = list_images(root, split, folders)
    if card.names_identify_images:
        splits: list[Split] = [one for one in SPLITS if (root / one).is_dir()] or [split]
        _require_unique(card, [list_images(root, one, folders) for one in splits])
    files = [
        LabelledFile(path=path, name=f"{path.parent.name}/{path.name}", class_index=int(index))
        for path, index in zip(listed.files, listed.classes, strict=True)
    ]
    return tuple(
        tuple(file for file in files if file.class_index == index) for index in range(len(folders))
    )


def count_left_out(root: Path, card: DatasetCard, split: Split) -> int:
    """Returns how many files in the class folders are no images by their names (`is_junk`)."""
    return list_images(root, split, [one.folder for one in card.classes]).left_out


def _require_unique(card: DatasetCard, splits: Sequence[ImageFolder]) -> None:
    """Raises UnusableFolder if an image is in two splits, or in two classes of one split."""
    names = Counter(path.stem for listed in splits for path in listed.files)
    if repeated := sum(times > 1 for times in names.values()):
        raise UnusableFolder(
            f"{card.id} is split by image, so each image must be in exactly one folder; {repeated} "
            "images are in several. Split the list of images, not the list of rows."
        )
