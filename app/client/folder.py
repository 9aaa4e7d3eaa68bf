"""A folder of images, one job per image."""

from dataclasses import dataclass
from pathlib import Path

from app.client.answers import Certification
from app.client.errors import ClientError
from models.datasets.junk import is_junk

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".dcm", ".dicom"}
)


@dataclass(frozen=True, kw_only=True)
class FolderItem:
    """The outcome for one file: either `certification` or `error` is set."""

    path: Path
    certification: Certification | None = None
    error: ClientError | None = None


def find_images(folder: Path) -> tuple[Path, ...]:
    """The files below a folder that have an image suffix, or none, like many DICOM files.

    Raises:
        ValueError: there are none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not is_junk(path.name)
        and (path.suffix.lower() in SUFFIXES or _has_no_suffix(path))
    )
    if not found:
        raise ValueError(
            f"no image below {folder}: expected files ending in {', '.join(sorted(SUFFIXES))}, "
            "or DICOM files without a suffix"
        )
    return tuple(found)


def _has_no_suffix(path: Path) -> bool:
    """DICOM files often have no suffix, or are named by a UID, which ends in a number."""
    return path.suffix == "" or path.suffix[1:].isdecimal()
