"""Walks TIFF image file directories before a decoder trusts them (TIFF 6.0, section 2)."""

import struct
from dataclasses import dataclass

from models.imaging.pixels.errors import ImageBroken

MAX_PAGES = 4096
# TIFF 6.0 page 15; the last four come from BigTIFF and TIFF's supplements.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_NESTED = {330, 34665, 34853, 40965}  # SubIFDs, EXIF, GPS, interoperability
# What decides how samples are read: size, bits, compression, strips, tiles, palette, alpha, sign.
_OF_THE_SAMPLES = {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320}
_OF_THE_SAMPLES |= {322, 323, 324, 325, 338, 339, 347}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Byte order and field widths: those of classic TIFF, or of BigTIFF with 8-byte offsets."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQQ" if self.big else "HHII"))


def count_pages(data: bytes, *, whole: bool = False) -> int:
    """Returns the number of pages in a TIFF file or EXIF block, without directories outside it.

    Args:
        data: the file.
        whole: whether each page must have what its directory says of its samples. Without it, a
            decoder would take a default, such as one bit for each sample.

    Raises:
        ImageBroken: there are more than 4096 pages, or the tags together claim more data than the
            file has. A decoder would copy each claim, so a short file could ask for terabytes.
    """
    layout = _Layout(order="<" if data[:1] == b"I" else ">", big=data[2:4] in (b"+\0", b"\0+"))
    offset = _field(layout.offset, data, 8 if layout.big else 4)
    pages, budget, seen = 0, 2 * len(data), set[int]()
    while offset and offset not in seen and offset + layout.count.size <= len(data):
        if pages == MAX_PAGES:
            raise ImageBroken(f"Expected at most {MAX_PAGES} TIFF pages, got more. Split the file.")
        seen.add(offset)
        if whole:
            _require_values(data, layout, offset)
        offset, budget = _walk(data, layout, offset, budget, depth=0)
        pages += 1
    return pages


def _walk(data: bytes, layout: _Layout, offset: int, budget: int, depth: int) -> tuple[int, int]:
    """Reads one directory; returns the offset of the next and what is left of the budget."""
    entries = _field(layout.count, data, offset)
    start = offset + layout.count.size
    stop = start + entries * layout.entry.size
    for tag, kind, count, value in layout.entry.iter_unpack(_whole(data[start:stop], layout)):
        budget -= layout.entry.size + count * _TYPE_BYTES.get(kind, 0)
        if budget < 0:
            raise ImageBroken(
                "Expected tags that fit into their file, got tags that claim more data than there "
                "is. Export the image again."
            )
        if tag in _NESTED and count == 1 and depth < 2:
            _, budget = _walk(data, layout, value, budget, depth + 1)
    return _field(layout.offset, data, stop), budget


def _require_values(data: bytes, layout: _Layout, offset: int) -> None:
    """Raises ImageBroken if the data ends within a directory, or before what its samples need."""
    start = offset + layout.count.size
    stop = start + _field(layout.count, data, offset) * layout.entry.size
    for tag, kind, count, value in layout.entry.iter_unpack(_whole(data[start:stop], layout)):
        size = count * _TYPE_BYTES.get(kind, 0)
        apart = size > layout.offset.size
        if tag in _OF_THE_SAMPLES and apart and value + size > len(data):
            break
    else:
        if stop <= len(data):
            return
    raise ImageBroken("Expected a whole TIFF file, got one that ends early. Export it again.")


def _whole(entries: bytes, layout: _Layout) -> bytes:
    return entries[: len(entries) // layout.entry.size * layout.entry.size]


def _field(field: struct.Struct, data: bytes, offset: int) -> int:
    """Returns the number at `offset`, or 0 if the data ends before it."""
    if offset + field.size > len(data):
        return 0
    return int(field.unpack_from(data, offset)[0])
