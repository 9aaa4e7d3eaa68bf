"""Files with a class each, from a zip of class folders or from parts of a form. Untrusted.

Of the paths in a zip only the folder that an image lies in is looked at. Nothing is unpacked to
disk; a file is read when it is asked for, and never beyond its limit.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from app.server.answers.problems import TrainingImagesInvalid
from models.catalogue.names import clean_name
from models.datasets.junk import is_junk
from models.imaging import ImageLimits

_MAX_DIRECTORY = 2**20  # bytes of the list of files at the end of a zip
_MAX_NAME = 200
_MAX_TOTAL = 2**30
_END = b"PK\x05\x06"
_END_SIZE, _MAX_COMMENT = 22, 1 << 16
_ZIP64_LOCATOR, _ZIP64_LOCATOR_SIZE = b"PK\x06\x07", 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


@dataclass(frozen=True, kw_only=True)
class SentFile:
    """An image file and the name of its class; `read` gives its bytes.

    `place` counts from 0: the parts as they came, or the files of a zip in order of their paths.
    """

    place: int
    class_name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class SentFiles:
    """The image files of a request, and how many others were left out (`models.datasets.junk`)."""

    files: list[SentFile]
    left_out: int


def open_zip(stream: BinaryIO, *, most: int) -> SentFiles:
    """The images of a zip in the order of their paths, whatever their order in the zip is.

    Raises:
        TrainingImagesInvalid: no zip, encrypted, more than `most` files, a file without a folder.
    """
    _check_directory(stream)
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise _unreadable() from None
    sent = [entry for entry in archive.infolist() if not entry.is_dir()]
    entries = [entry for entry in sent if not _is_junk(entry)]
    check_count(len(entries), most)
    if sum(entry.file_size for entry in entries) > _MAX_TOTAL:  # no more than that is read
        raise TrainingImagesInvalid(f"Expected at most {_MAX_TOTAL} bytes of images.")
    for entry in entries:
        _check_entry(entry)
    entries.sort(key=lambda entry: entry.filename)
    files = [
        SentFile(place=place, class_name=_get_class(entry), read=partial(_read, archive, entry))
        for place, entry in enumerate(entries)
    ]
    return SentFiles(files=files, left_out=len(sent) - len(files))


def check_count(count: int, most: int) -> None:
    """Passes for as many images as may be sent; else raises TrainingImagesInvalid."""
    if count > most:
        raise TrainingImagesInvalid(f"Expected at most {most} images, got {count}.")


def _check_directory(stream: BinaryIO) -> None:
    """A list of files that would take much memory is refused before it is read."""
    size = stream.seek(0, 2)
    start = max(0, size - _END_SIZE - _MAX_COMMENT - _ZIP64_LOCATOR_SIZE)
    stream.seek(start)
    tail = stream.read()
    stream.seek(0)
    at = tail.rfind(_END)
    record = tail[at:]
    comment = int.from_bytes(record[20:22], "little")
    if at < 0 or len(record) != _END_SIZE + comment:
        raise _unreadable()
    large = tail[max(0, at - _ZIP64_LOCATOR_SIZE) : at].startswith(_ZIP64_LOCATOR)
    if large or int.from_bytes(record[12:16], "little") > _MAX_DIRECTORY:
        raise TrainingImagesInvalid(
            "Expected a zip with fewer files: its list is too long, or it is a ZIP64, which only "
            "65535 files or 4 GiB need."
        )


def _is_junk(entry: zipfile.ZipInfo) -> bool:
    """Whether it is what desktops add by themselves, or lies in such a folder."""
    return any(is_junk(part) for part in _get_path(entry).parts if part != "..")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise TrainingImagesInvalid("Expected a zip that is neither encrypted nor of a rare kind.")
    if not 1 <= len(_get_class(entry)) <= _MAX_NAME:
        raise TrainingImagesInvalid(
            "Expected each image of the zip in a folder that is named like its class."
        )


def _get_class(entry: zipfile.ZipInfo) -> str:
    return clean_name(_get_path(entry).parent.name)


def _get_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(entry.filename.replace("\\", "/"))  # as some programs of Windows write it


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry, one more than the limit at most, which imaging then refuses."""
    try:
        with archive.open(entry) as stream:
            return read_limited(stream)
    except Exception:  # a damaged entry ends anywhere in zipfile and zlib
        raise _unreadable() from None


def read_limited(stream: IO[bytes]) -> bytes:
    """A file's bytes, or one more than an image may have."""
    return stream.read(ImageLimits().max_bytes + 1)


def _unreadable() -> TrainingImagesInvalid:
    return TrainingImagesInvalid("Expected a zip file that can be read; it is damaged or none.")
