"""Reads EXIF blocks before Pillow does: whether they are sound, and their orientation."""

import struct

from models.imaging.formats.codestream import list_segments
from models.imaging.formats.tiff_directories import count_pages
from models.imaging.pixels.errors import ImageBroken

DAMAGED = "The file's EXIF block is damaged; of it, only the orientation was read."
_HEAD = b"Exif\0\0"
_TIFF = (b"II*\0", b"MM\0*")
_APP1 = 0xE1
_ORIENTATION, _SHORT = 274, 3


def is_sound(exif: bytes) -> bool:
    """Whether a block is empty, or tags that claim no more data than it has.

    Pillow would copy each claim, so a short block could ask for terabytes. Editors that remove a
    maker note leave a claim behind.
    """
    tags = exif.removeprefix(_HEAD)
    if tags and not tags.startswith(_TIFF):
        return False
    try:
        count_pages(tags)
    except ImageBroken:
        return False
    return True


def find_orientation(exif: bytes) -> int:
    """Returns the orientation (EXIF 2.3, 1 … 8) in a block's first directory, or else 1."""
    tiff = exif.removeprefix(_HEAD)
    order = "<" if tiff[:1] == b"I" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + 12 * number)
            if tag == _ORIENTATION and kind == _SHORT:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def find_in_jpeg(data: bytes) -> bytes:
    """Returns the EXIF block of a JPEG file, its segments joined; empty if there is none."""
    return b"".join(
        data[start + 4 + len(_HEAD) : stop] for start, stop in _list_exif_segments(data)
    )


def drop_from_jpeg(data: bytes) -> bytes:
    """Returns the JPEG file without its EXIF segments."""
    kept, at = [], 0
    for start, stop in _list_exif_segments(data):
        kept.append(data[at:start])
        at = stop
    return b"".join([*kept, data[at:]])


def _list_exif_segments(data: bytes) -> list[tuple[int, int]]:
    return [
        (start, stop)
        for start, stop, marker in list_segments(data)
        if marker == _APP1 and data.startswith(_HEAD, start + 4)
    ]
