"""Leaves chunks out of a PNG file that hold no pixels, before a decoder reads them.

Decoders give a whole file up at a text that is too long, or at one damaged chunk that nobody needs
(PNG, third edition, 11.3).
"""

import zlib
from collections.abc import Iterator

from models.imaging.pixels.notes import PROFILE_IGNORED

DAMAGED = "A damaged chunk of the PNG file, which holds no pixels, was left out."
_SIGNATURE_BYTES = 8
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PROFILE = b"iCCP"
_SHOWN = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")  # transparency, orientation, animation
_USED = (*_TEXT, _PROFILE, *_SHOWN)
_ANCILLARY = 0x20  # 5.4: of the type's first letter
_MOST_EACH, _MOST_ALL = 2**18, 2**20  # bytes; Pillow gives a file up at 1 MiB in one text


def drop_chunks(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Returns the file without chunks that are not needed, and notes on what else was left out.

    Those are texts and profiles that are long or that inflate to something long, and damaged
    chunks. What decides the picture stays, damaged or not. What is left of the file is not checked;
    a file that ends within a chunk stays as it is there.
    """
    kept, left, at = [data[:_SIGNATURE_BYTES]], _MOST_ALL, _SIGNATURE_BYTES
    notes: dict[str, None] = {}
    for start, stop, kind in _list_chunks(data):
        at = stop
        whole = not kind[0] & _ANCILLARY or kind in _SHOWN
        if not whole and zlib.crc32(data[start + 4 : stop - 4]) != _checksum(data, stop):
            notes[DAMAGED] = None
            continue
        size = _measure(kind, data[start + 8 : stop - 4]) if kind in (*_TEXT, _PROFILE) else 0
        if size > min(_MOST_EACH, left):
            notes |= {PROFILE_IGNORED: None} if kind == _PROFILE else {}
        elif whole or kind in _USED:
            left -= size
            kept.append(data[start:stop])
    if len(kept) == 1:
        return data, ()
    return b"".join([*kept, data[at:]]), tuple(notes)


def _checksum(data: bytes, stop: int) -> int:
    return int.from_bytes(data[stop - 4 : stop], "big")


def _list_chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields where each whole chunk begins and ends, and its type (5.3)."""
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        stop = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if stop > len(data):
            return
        yield at, stop, data[at + 4 : at + 8]
        at = stop


def _measure(kind: bytes, body: bytes) -> int:
    """Returns how long a text or profile is, or something above the limit where it is longer."""
    if kind == b"tEXt" or len(body) > _MOST_EACH:
        return len(body)
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return len(body)
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, _MOST_EACH + 1))
    except zlib.error:
        return len(body)
