"""DICOM lookup tables: modality (PS3.3 C.11.1.1), VOI (C.11.2.1.1) and palette (C.7.6.3.1.5/6)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.dicom.dataset import DataSet
from models.imaging.pixels.errors import ImageBroken

Interval = tuple[float, float]
_SHORT = "A lookup table has fewer entries than its descriptor says; its last one was repeated."
_LONG = "A lookup table has more entries than its descriptor says; those beyond it were not used."


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupTable:
    """Entries for the input values `first`, `first` + 1, …

    Attributes:
        first: The smallest input value with its own entry.
        bits: Bits of an entry as they are used, 1 … 16; no entry is above 2 ** bits - 1.
        entries: uint16, (n,).
        notes: What was decided where descriptor and entries disagree.
    """

    first: int
    bits: int
    entries: NDArray[np.uint16]
    notes: tuple[str, ...] = ()

    def __getitem__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Returns the entries for integer `values`; values outside use the ends."""
        last = self.first + len(self.entries) - 1
        at = np.clip(values.astype(np.int64), self.first, last) - self.first
        entries: NDArray[np.uint16] = self.entries[at]
        return entries


def find_table(
    holder: DataSet, descriptor: str, data: str, *, reach: Interval
) -> LookupTable | None:
    """Returns the table of a data set or sequence item, or None where it has none with entries.

    Args:
        holder: has the two elements.
        descriptor: the keyword of the element with the number of entries, the first value and bits.
        data: the keyword of the entries.
        reach: the smallest and largest input value that can occur. It decides the sign of the first
            value, which the element's VR may not show.

    Raises:
        ImageBroken: the descriptor does not have three values.
    """
    numbers = holder.get_words(descriptor)
    if not len(numbers) or not len(holder.get_bytes(data)):
        return None
    if len(numbers) < 3:
        raise ImageBroken(
            f"Expected three values in the DICOM element {descriptor}, got fewer. "
            "Correct the element, or export the image again."
        )
    count, first, bits = (int(number) for number in numbers[:3])
    count = count or 2**16  # C.11.1.1: 0 means 65536
    entries = _read_entries(holder, data, count)
    notes = (_SHORT,) if len(entries) < count else (_LONG,) if len(entries) > count else ()
    first = _sign(first, count, reach)
    return LookupTable(first=first, bits=bits, entries=entries[:count], notes=notes)


def find_true_bits(table: LookupTable, *, most_spare: int) -> LookupTable:
    """Returns the table with the bits that its entries use, where the descriptor is wrong.

    It is wrong if an entry has more bits, or if all leave more than `most_spare` of its highest
    bits unused. Agfa's descriptors say 16 for entries of 12 bits.
    """
    repeated = _repeats_bytes(table.entries)
    used = 16 if repeated else max(1, int(table.entries.max()).bit_length())
    if 0 <= table.bits - used <= most_spare:
        return table
    note = (
        f"A lookup table says that its entries have {table.bits} bits, but they have {used}; "
        f"{used} were used."
    )
    return replace(table, bits=used, notes=(*table.notes, note))


def _repeats_bytes(entries: NDArray[np.uint16]) -> bool:
    """Whether these are 8-bit values on 16 bits, the high byte equal to the low one."""
    return bool(entries.any()) and bool(((entries >> 8) == (entries & 0xFF)).all())


def _sign(first: int, count: int, reach: Interval) -> int:
    """Returns the first value as signed or unsigned 16 bits.

    C.11.2.1.1: it is signed where the input values can be negative. If only one of the two meets
    values that can occur, that one is meant.
    """
    if first < 2**15 or reach[0] >= 0:
        return first
    meets = [number <= reach[1] and number + count > reach[0] for number in (first, first - 2**16)]
    return first if meets == [True, False] else first - 2**16


def _read_entries(holder: DataSet, keyword: str, count: int) -> NDArray[np.uint16]:
    """Returns the entries: words, or bytes packed two to a word (C.7.6.3.1.6)."""
    value = holder.get_bytes(keyword)
    if len(value) not in (count, count + count % 2) or len(value) < 2:
        return holder.get_words(keyword)
    packed = np.frombuffer(value, np.uint8)
    if not holder.encoding.little:  # packed into words, whose bytes are in the other order
        packed = packed.reshape(-1, 2)[:, ::-1].ravel() if len(packed) % 2 == 0 else packed
    return packed[:count].astype(np.uint16)
