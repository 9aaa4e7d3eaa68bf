"""A folder of images, one job each."""

from dataclasses import dataclass
from pathlib import Path

from app.client.answers import Certification
from app.client.errors import ClientError, FileUnreadable

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".dcm", ".dicom"}
)


@dataclass(frozen=True, kw_only=True)
class FolderItem:
    """What became of one file: exactly one of `certification` and `error`."""

    path: Path
    certification: Certification | None = None
    error: ClientError | None = None


def find_images(folder: Path) -> tuple[Path, ...]:
    """The files below a folder that are named like images, or like nothing, as DICOM files are.

    Raises:
        ValueError: there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.name != "DICOMDIR"
        and (path.suffix.lower() in SUFFIXES or _has_no_suffix(path))
    )
    if not found:
        raise ValueError(
            f"no image below {folder}: expected files ending in {', '.join(sorted(SUFFIXES))}, "
            "or DICOM files without an ending"
        )
    return tuple(found)


def unreadable(path: Path, error: OSError) -> FileUnreadable:
    """What a file's error is to whoever asked for the folder."""
    return FileUnreadable(f"{path} cannot be read: {error.strerror or 'an error of the system'}")


def _has_no_suffix(path: Path) -> bool:
    """DICOM names end in nothing, or are UIDs, whose last part is a number."""
    return path.suffix == "" or path.suffix[1:].isdecimal()
