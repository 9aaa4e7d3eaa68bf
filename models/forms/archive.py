"""A published zip archive, which is not trusted. Nothing of it is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from models.catalogue.weights import UnreadableWeights

_LARGEST = 4 * 2**30  # MedCLIP's file has about half a gigabyte


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The files of an archive that have these names, in whatever folder inside it.

    Raises:
        UnreadableWeights: no archive, one cut short or damaged, one with a path that leads out of
            it, the same name twice, or more bytes than any such model has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = _choose(path.name, archive, names)
            return {name: archive.read(member) for name, member in chosen.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableWeights(
            path.name,
            f"a whole zip archive was expected, a damaged one or one cut short came ({error})",
        ) from error


def _choose(
    name: str, archive: zipfile.ZipFile, names: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in member.filename:
            raise UnreadableWeights(
                name, f"paths inside the archive were expected, {member.filename!r} was found"
            )
        if place.name not in names or member.is_dir():
            continue
        if place.name in chosen:
            raise UnreadableWeights(name, f"one {place.name} was expected, two were found")
        if member.file_size > _LARGEST:
            raise UnreadableWeights(
                name,
                f"{place.name} of at most {_LARGEST} bytes was expected, {member.file_size} found",
            )
        chosen[place.name] = member
    return chosen
