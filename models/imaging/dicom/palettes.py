"""Colours of PALETTE COLOR images (PS3.3 C.7.6.3.1.5 and C.7.9)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.dicom.dataset import DataSet
from models.imaging.dicom.luts import Interval, LookupTable, find_table, find_true_bits
from models.imaging.pixels.errors import ImageBroken

_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_MOST_SPARE = 3  # a palette of dim colours leaves some bits unused


def apply_palette(
    stored: NDArray[Any], dataset: DataSet, *, reach: Interval
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Returns PALETTE COLOR pixels as RGB, (H, W, 3), and notes on what was decided.

    Args:
        stored: the stored values, (H, W).
        dataset: has the tables.
        reach: the smallest and largest value that can be stored.

    Raises:
        ImageBroken: a table is missing, or its segments cannot be expanded.
    """
    tables = [_find_table(dataset, colour, reach) for colour in _COLOURS]
    entries: NDArray[np.uint16] = np.stack([table[stored] for table in tables], axis=-1)
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    if not any((table.entries & 0xFF).any() for table in tables):  # colours in the high bytes
        return (entries >> 8).astype(np.uint8), notes
    brightest = max(tables, key=lambda table: int(table.entries.max()))
    if brightest.entries.max() <= 0xFF:
        return entries.astype(np.uint8), notes
    true = find_true_bits(brightest, most_spare=_MOST_SPARE)
    return _to_8_bit(entries, true.bits), tuple(dict.fromkeys((*notes, *true.notes)))


def _to_8_bit(entries: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Scales entries of 9 to 16 bits to 0–255."""
    most = 2**bits - 1
    scaled: NDArray[np.uint32] = (entries.astype(np.uint32) * 510 + most) // (2 * most)
    return scaled.astype(np.uint8)  # halves were rounded up


def _find_table(dataset: DataSet, colour: str, reach: Interval) -> LookupTable:
    descriptor = f"{colour}PaletteColorLookupTableDescriptor"
    table = find_table(dataset, descriptor, f"{colour}PaletteColorLookupTableData", reach=reach)
    if table is not None:
        return table
    segmented = f"Segmented{colour}PaletteColorLookupTableData"
    table = find_table(dataset, descriptor, segmented, reach=reach)
    if table is None:
        raise ImageBroken(
            f"Expected a palette with a descriptor and entries for {colour.lower()}, got none. "
            "Convert the image to RGB."
        )
    parts = _list_parts(dataset, segmented, table.bits)
    count = int(dataset.get_words(descriptor)[0]) or 2**16
    entries = expand_segments(parts, count, wide=table.bits > 8)
    return LookupTable(first=table.first, bits=table.bits, entries=entries)


def _list_parts(dataset: DataSet, keyword: str, bits: int) -> list[int]:
    """Returns the numbers of the segments: words, or bytes where entries have 8 bits."""
    if bits > 8:
        return [int(word) for word in dataset.get_words(keyword)]
    value = np.frombuffer(dataset.get_bytes(keyword), np.uint8)
    if not dataset.encoding.little:  # packed into words, whose bytes are in the other order
        value = value[: len(value) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return [int(byte) for byte in value]


def expand_segments(parts: Sequence[int], count: int, *, wide: bool) -> NDArray[np.uint16]:
    """Returns the entries that segments describe (PS3.3 C.7.9.2), at most `count`; uint16, (n,).

    Args:
        parts: kinds, lengths and values of the segments, one after another.
        count: how many entries are needed.
        wide: whether a part has 16 bits rather than 8.

    Raises:
        ImageBroken: the segments are not as the standard has them.
    """
    entries: list[int] = []
    for kind, values in _list_segments(parts, most=2 * count + len(parts), wide=wide):
        if kind == _DISCRETE:
            entries += values
        elif entries:
            length, end = values
            line = entries[-1] + (end - entries[-1]) * np.arange(1, length + 1) / max(1, length)
            entries += [int(value) for value in np.floor(line + 0.5)]
        else:
            raise _broken()
        if len(entries) >= count:
            break
    if not entries:
        raise _broken()
    return np.array(entries[:count], np.uint16)


def _list_segments(
    parts: Sequence[int], *, most: int, wide: bool
) -> Iterator[tuple[int, Sequence[int]]]:
    """Yields discrete segments with their values and linear ones with length and end.

    An indirect segment repeats earlier ones, which it names by their number and byte offset.
    """
    seen: dict[int, int] = {}  # where a segment begins, and its number
    segments: list[tuple[int, Sequence[int]]] = []
    at = yielded = 0
    while at + 2 < len(parts) and yielded < most:
        kind, length = parts[at], parts[at + 1]
        if kind == _INDIRECT:
            at, first = _read_offset(parts, at + 2, seen, wide=wide)
            repeated = segments[first : first + length]
        else:
            seen[at] = len(segments)
            at, segment = _read_segment(parts, at)
            segments.append(segment)
            repeated = [segment]
        yielded += len(repeated) + 1
        yield from repeated


def _read_segment(parts: Sequence[int], at: int) -> tuple[int, tuple[int, Sequence[int]]]:
    """Returns where the next segment begins, and this one."""
    kind, length = parts[at], parts[at + 1]
    if kind == _DISCRETE:
        return at + 2 + length, (kind, parts[at + 2 : at + 2 + length])
    if kind == _LINEAR:
        return at + 3, (kind, (length, parts[at + 2]))
    raise _broken()


def _read_offset(
    parts: Sequence[int], at: int, seen: Mapping[int, int], *, wide: bool
) -> tuple[int, int]:
    """Returns where the next segment begins, and the number of the segment that is named.

    C.7.9.2.3 counts bytes; some writers count words.
    """
    offset = parts[at : at + (2 if wide else 4)]
    bits = 16 if wide else 8
    number = sum(part << bits * place for place, part in enumerate(offset))
    for begin in (number // 2, number) if wide else (number,):
        if begin in seen:
            return at + len(offset), seen[begin]
    raise _broken()


def _broken() -> ImageBroken:
    return ImageBroken(
        "Expected the segments of a palette as PS3.3 C.7.9.2 has them, got others. "
        "Convert the image to RGB."
    )
