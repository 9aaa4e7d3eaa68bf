"""Finds the fragments of one frame in encapsulated pixel data (PS3.5 A.4)."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydicom import uid

from models.imaging.dicom.dataset import DataSet
from models.imaging.dicom.elements import Range
from models.imaging.pixels.errors import ImageBroken

ITEM_STARTS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # PS3.5 7.5, little- and big-endian
STREAM_STARTS = (
    b"\xff\xd8\xff",
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cjP  ",
)  # JPEG, JPEG 2000, JP2
_NOT_BELIEVED = "The offsets of the frames do not fit the pixel data; its fragments were counted."
_MORE_STREAMS = "The pixel data holds more streams than NumberOfFrames says; the first was read."
_NO_TABLE = "The pixel data lacks its offset table; its fragments were counted."


def read_frame(
    dataset: DataSet, items: Sequence[Range], *, index: int, frames: int, syntax: uid.UID
) -> tuple[bytes, tuple[str, ...]]:
    """Returns the compressed stream of one frame, and notes on what was decided.

    An offset table is believed only if it has one entry for each frame and each is the start of a
    fragment in which a stream begins. Else the fragments are counted: one for each frame, all for a
    single frame, or from one beginning of a stream to the next.

    Args:
        dataset: holds the fragments, and perhaps an Extended Offset Table.
        items: places of the offset table and the fragments.
        index: the frame, from 0.
        frames: the number of frames.
        syntax: the transfer syntax.

    Raises:
        ImageBroken: the fragments cannot be divided into so many frames.
    """
    data = dataset.data
    first = data[slice(*items[0])] if items else b""
    has_table = not first.startswith(STREAM_STARTS)
    fragments = [place for place in items[has_table:] if place[0] < place[1]]
    begins = [_begins(data, place, syntax) for place in fragments]
    offsets = _list_offsets(first, dataset, little=dataset.encoding.little) if has_table else []
    groups = _group_by_offsets(offsets, fragments, begins, frames)
    notes: tuple[str, ...] = ()
    if not groups and (offsets or not has_table):
        notes = (_NOT_BELIEVED,)
    if not has_table:
        notes = (_NO_TABLE,)
    groups = groups or _group_by_count(fragments, begins, frames)
    if frames == 1 and syntax != uid.RLELossless and sum(begins) > 1:
        notes += (_MORE_STREAMS,)
    start, stop = groups[index]
    return b"".join(data[a:b] for a, b in fragments[start:stop]), notes


def _list_offsets(table: bytes, dataset: DataSet, *, little: bool) -> list[int]:
    """Returns the Extended Offset Table, or else the Basic one, which may be empty."""
    order = "<" if little else ">"
    extended = bytes(dataset.get_bytes("ExtendedOffsetTable"))
    if extended and len(extended) % 8 == 0:
        return [int(offset) for offset in np.frombuffer(extended, order + "u8")]
    if len(table) % 4:
        return [-1]  # cannot be believed
    return [int(offset) for offset in np.frombuffer(table, order + "u4")]


def _begins(data: bytes, place: Range, syntax: uid.UID) -> bool:
    """Whether a stream begins in this fragment; with RLE one does in each (PS3.5 G.2)."""
    return syntax == uid.RLELossless or data.startswith(STREAM_STARTS, *place)


def _group_by_offsets(
    offsets: Sequence[int], fragments: Sequence[Range], begins: Sequence[bool], frames: int
) -> list[Range]:
    """Returns the first and last fragment of each frame; empty if the table is not believable."""
    if len(offsets) != frames or not fragments:
        return []
    base = fragments[0][0]  # offsets count from the first byte of the first fragment's item
    numbers = {start - base: number for number, (start, _) in enumerate(fragments)}
    chosen = [numbers.get(offset, -1) for offset in offsets]
    sound = chosen[0] == 0 and all(a < b for a, b in pairwise(chosen))
    if not sound or not all(begins[number] for number in chosen):
        return []
    return list(zip(chosen, [*chosen[1:], len(fragments)], strict=True))


def _group_by_count(fragments: Sequence[Range], begins: Sequence[bool], frames: int) -> list[Range]:
    if len(fragments) == frames:
        return [(number, number + 1) for number in range(frames)]
    if frames == 1 and fragments:
        return [(0, len(fragments))]
    starts = [number for number, begun in enumerate(begins) if begun]
    if len(starts) != frames or starts[0] != 0:
        raise ImageBroken(
            f"Expected {frames} frame(s) in the compressed pixel data, got {len(starts)} in "
            f"{len(fragments)} fragment(s). The file may be incomplete, or NumberOfFrames wrong; "
            "export the image again."
        )
    return list(zip(starts, [*starts[1:], len(fragments)], strict=True))
