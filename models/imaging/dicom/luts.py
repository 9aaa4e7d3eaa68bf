"""DICOM lookup tables: modality (PS3.3 C.11.1.1), VOI (C.11.2.1.1) and palette (C.7.6.3.1.5/6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.pixels.errors import ImageBroken


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupTable:
    """Entries of `bits` bits for the input values `first`, `first` + 1, …

    Attributes:
        first: The smallest input value with its own entry.
        bits: Bits of an entry, 8 … 16.
        entries: uint16, (n,).
    """

    first: int
    bits: int
    entries: NDArray[np.uint16]

    def index(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the entries' positions for integer `values`; values outside use the ends."""
        last = self.first + len(self.entries) - 1
        return np.clip(values.astype(np.int64), self.first, last) - self.first

    def __getitem__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Returns the entries for integer `values`."""
        entries: NDArray[np.uint16] = self.entries[self.index(values)]
        return entries


def parse_table(
    descriptor: Sequence[int], data: bytes | Sequence[int], *, signed: bool, little_endian: bool
) -> LookupTable:
    """Parses a table from its descriptor (entries, first value, bits) and data elements.

    `signed` is the sign of the input values, which the descriptor's own type may not show.

    Raises:
        ImageBroken: the data is shorter than the descriptor states, or the bits are out of range.
    """
    count, first, bits = (int(number) & 0xFFFF for number in descriptor)
    count = count or 2**16  # C.11.1.1: 0 means 65536
    entries = _entries(data, count, little_endian)
    if len(entries) < count or not 8 <= bits <= 16:
        raise ImageBroken(
            "Expected a lookup table as long as its descriptor says, of 8 to 16 bits, got another. "
            "Export the image again."
        )
    first = first - 2**16 if signed and first >= 2**15 else first
    return LookupTable(first=first, bits=bits, entries=entries[:count].astype(np.uint16))


def _entries(data: bytes | Sequence[int], count: int, little_endian: bool) -> NDArray[Any]:
    if not isinstance(data, bytes | bytearray):
        return np.asarray(data, np.int64).ravel() & 0xFFFF
    if len(data) < 2 * count:  # C.7.6.3.1.6: 8-bit entries may be packed two to a word
        return np.frombuffer(data, np.uint8)
    return np.frombuffer(data[: 2 * count], "<u2" if little_endian else ">u2")


def palette_to_8_bit(tables: Sequence[NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """Returns red, green and blue entries on 0–255; uint8, (n, 3).

    8-bit colours occur in the low or in the high byte of 16-bit entries. Both are used as they are,
    and only colours that use all 16 bits are scaled.
    """
    entries = np.stack(list(tables), axis=-1)  # (n, 3)
    if entries.max() <= 0xFF:
        return entries.astype(np.uint8)
    if not (entries & 0xFF).any():
        return (entries >> 8).astype(np.uint8)
    return np.floor(entries / 257 + 0.5).astype(np.uint8)
