"""Reads published zip archives, which are untrusted, without unpacking them to disk."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from models.catalogue.weights import UnreadableWeights

_LARGEST = 4 * 2**30  # MedCLIP's file has about half a gigabyte


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Returns the contents of the files with these names, in any folder of the archive.

    Raises:
        UnreadableWeights: the file is not an archive, is truncated or damaged, has a path that
            leads outside, has the same name twice, or is larger than any such model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = _choose(path.name, archive, names)
            return {name: archive.read(member) for name, member in chosen.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableWeights(
            path.name,
            f"expected a complete zip archive, got a damaged or truncated one ({error})",
        ) from error


def _choose(
    name: str, archive: zipfile.ZipFile, names: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in member.filename:
            raise UnreadableWeights(
                name, f"expected only paths inside the archive, got {member.filename!r}"
            )
        if place.name not in names or member.is_dir():
            continue
        if place.name in chosen:
            raise UnreadableWeights(name, f"expected one {place.name}, found two")
        if member.file_size > _LARGEST:
            raise UnreadableWeights(
                name,
                f"expected {place.name} to have at most {_LARGEST} bytes, got {member.file_size}",
            )
        chosen[place.name] = member
    return chosen
