"""Leaves large texts out of a PNG file before a decoder reads them (PNG, third edition, 11.3.3)."""

import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_MOST_EACH, _MOST_ALL = 2**18, 2**20  # bytes; Pillow gives a file up at 1 MiB in one text


def drop_large_text(data: bytes) -> bytes:
    """Returns the file without texts that are long, or that inflate to something long.

    What is left of the file is not checked; a file that ends within a chunk stays as it is there.
    """
    kept, left, at = [data[:_SIGNATURE_BYTES]], _MOST_ALL, _SIGNATURE_BYTES
    for start, stop, kind in _list_chunks(data):
        at = stop
        size = _measure(kind, data[start + 8 : stop - 4]) if kind in _TEXT else 0
        if size <= min(_MOST_EACH, left):
            left -= size
            kept.append(data[start:stop])
    if len(kept) == 1:
        return data
    return b"".join([*kept, data[at:]])


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
    """Returns how long a text is, or something above the limit where it is longer."""
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
