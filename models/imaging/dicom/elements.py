"""Walks the elements of a DICOM data set (PS3.5 chapter 7), also past those that break its rules.

pydicom's reader ends at a VR or a delimiter that it does not expect. Viewers go on, so this walk is
our own. It finds where values begin and end, and copies nothing.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from models.imaging.pixels.errors import ImageBroken

PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 7.5
_SWAPPED_ENDS = (0xFEFFDDE0, 0xFEFF0DE0)  # the same in the other byte order
_UNDEFINED = 0xFFFFFFFF
_MAX_DEPTH = 32
_VRS = {vr.encode() for vr in STANDARD_VR}
_LONG = {vr.encode() for vr in EXPLICIT_VR_LENGTH_32}
_NOT_NULL = re.compile(rb"[^\0]")

Range = tuple[int, int]


class Encoding(NamedTuple):
    """How a data set is written (PS3.5 7.1 and 7.3)."""

    implicit: bool
    little: bool


class Element(NamedTuple):
    """Where the value of one element is; `vr` is empty where none is written.

    `items` are the contents of the items or fragments of a value of undefined length, and None for
    all other values.
    """

    tag: int
    vr: str
    start: int
    stop: int
    items: tuple[Range, ...] | None = None


class _Reading(NamedTuple):
    vr: str
    start: int
    length: int


class Walk:
    """One walk through the elements of `data` from `at` to `stop`.

    Attributes:
        at: where the next element begins.
        notes: sentences about rules of the standard that were broken on the way.
    """

    def __init__(
        self, data: bytes, encoding: Encoding, *, at: int = 0, stop: int | None = None
    ) -> None:
        self.data, self.encoding, self.at = data, encoding, at
        self.stop = len(data) if stop is None else stop
        self.notes: list[str] = []
        self._order = "little" if encoding.little else "big"

    def __iter__(self) -> Iterator[Element]:
        """Yields the elements up to the end.

        Raises:
            ImageBroken: the data ends within an element, or sequences are nested too deeply.
        """
        return self._walk(depth=0)

    def peek(self) -> int | None:
        """Returns the tag of the next element, or None at the end."""
        return self._tag(self.at) if self.at + 8 <= self.stop else None

    def _walk(self, depth: int) -> Iterator[Element]:
        """Yields elements up to the end, or up to a delimiter of an item at a greater depth."""
        while True:
            self._skip_nulls()
            if self.at == self.stop:
                return
            if self.stop - self.at < 8:
                raise incomplete()
            tag = self._tag(self.at)
            if tag in (_ITEM_END, _SEQUENCE_END):
                self.at += 8
                if depth:
                    return
                self._note("A delimiter stands where no sequence is.")
                continue
            if tag == _ITEM:
                raise ImageBroken(
                    "Expected sequence items only within sequences, got one elsewhere. "
                    "Export the image again."
                )
            yield self._read(tag, depth)

    def _read(self, tag: int, depth: int) -> Element:
        """Reads one element and moves behind it."""
        reading = self._choose(tag)
        self.at = reading.start
        if reading.length != _UNDEFINED:
            self.at += reading.length
            if self.at > self.stop:
                raise incomplete()
            return Element(tag, reading.vr, reading.start, self.at)
        pixels = tag == PIXEL_DATA
        items = self._read_fragments() if pixels else self._read_items(reading.vr, depth)
        return Element(tag, reading.vr, reading.start, self.at, items)

    def list_items(self, element: Element) -> tuple[Range, ...]:
        """Returns the contents of a sequence's items, whatever the kind of its length."""
        if element.items is not None:
            return element.items
        inner = Walk(self.data, self.encoding, at=element.start, stop=element.stop)
        return inner._read_items(element.vr, 0)

    def find_fragments(self, element: Element) -> tuple[Range, ...] | None:
        """Returns the fragments in a value of defined length, or None if it is no list of items."""
        inner = Walk(self.data, self.encoding, at=element.start, stop=element.stop)
        return inner._read_fragments() if inner.peek() == _ITEM else None

    def _choose(self, tag: int) -> _Reading:
        """Returns the way to read an element's header after which the next element can begin.

        VRs of tomorrow have a length of 32 bits (PS3.5 6.2), but private ones may have 16, and some
        writers mix in implicit elements. What follows tells which it is.
        """
        readings = list(self._list_readings())
        for reading in readings:
            if self._is_followed(reading, tag):
                return reading
        if readings[0].vr:  # a VR of the standard; what follows is odd, or the file ends here
            return readings[0]
        fitting = (r for r in readings if r.length == _UNDEFINED or self._end(r) <= self.stop)
        return next(fitting, readings[0])

    def _list_readings(self) -> Iterator[_Reading]:
        """Yields how the header may be read, the standard's way first."""
        at, vr = self.at, self.data[self.at + 4 : self.at + 6]
        implicit = _Reading("", at + 8, self._number(at + 4, 4))
        if self.encoding.implicit:
            yield implicit
            return
        known = vr.upper() if vr.upper() in _VRS else b""
        name = known.decode()
        short = _Reading(name, at + 8, self._number(at + 6, 2))
        long = _Reading(name, at + 12, self._number(at + 8, 4)) if at + 12 <= self.stop else short
        if known:
            yield from (long, short) if known in _LONG else (short, long)
        elif vr.isalpha():
            yield from (long, short) if short.length == 0 else (short, long)
        else:
            yield from (implicit, short, long)

    def _is_followed(self, reading: _Reading, tag: int) -> bool:
        """Whether the end of the data, a delimiter or a later element begins after this one."""
        if reading.length == _UNDEFINED:
            return self._tag(reading.start) in (_ITEM, _SEQUENCE_END)
        end = self._end(reading)
        if end + 8 > self.stop:
            return end == self.stop
        following = self._tag(end)
        if following >> 16 == 0xFFFE:
            return True
        vr = self.data[end + 4 : end + 6]
        return following > tag and (self.encoding.implicit or vr in _VRS)

    @staticmethod
    def _end(reading: _Reading) -> int:
        return reading.start + reading.length

    def _read_items(self, vr: str, depth: int) -> tuple[Range, ...]:
        """Reads the items of a sequence up to its delimiter, and moves behind it (PS3.5 7.5).

        Where a writer swapped the delimiters of item and sequence, or left one out, the first
        element that cannot be in a sequence ends it.
        """
        if depth >= _MAX_DEPTH:
            raise ImageBroken("Expected sequences in at most 32 levels, got more. Export it again.")
        found: list[Range] = []
        while self.at + 8 <= self.stop:
            tag, length = self._tag(self.at), self._number(self.at + 4, 4)
            if tag == _SEQUENCE_END or tag in _SWAPPED_ENDS:
                self.at += 8
                return tuple(found)
            if tag == _ITEM_END:
                self.at += 8
            elif tag == _ITEM:
                self.at += 8
                found.append(self._read_item(vr, length, depth))
            else:
                break
        self._note("A sequence has no end mark.")
        return tuple(found)

    def _read_item(self, vr: str, length: int, depth: int) -> Range:
        start = self.at
        if length != _UNDEFINED:
            self.at += length
            if self.at > self.stop:
                raise incomplete()
            return start, self.at
        inner = Walk(self.data, self._find_encoding(vr), at=start, stop=self.stop)
        end = start
        for element in inner._walk(depth + 1):
            end = element.stop if element.items is None else inner.at
        self.at = inner.at
        return start, end

    def _find_encoding(self, vr: str) -> Encoding:
        """PS3.5 6.2.2: the items of a value whose VR is UN are implicit little-endian."""
        return self.get_inner_encoding(vr, self.at)

    def get_inner_encoding(self, vr: str, at: int) -> Encoding:
        """Returns how the item that begins at `at` is written, in a sequence of this VR."""
        if vr != "UN" or self.data[at + 4 : at + 6] in _VRS:
            return self.encoding
        return Encoding(implicit=True, little=True)

    def _read_fragments(self) -> tuple[Range, ...]:
        """Reads the fragments of encapsulated pixel data and moves behind them (PS3.5 A.4).

        Without a Sequence Delimitation Item they end with the file.
        """
        found: list[Range] = []
        while self.at + 8 <= self.stop:
            tag, length = self._tag(self.at), self._number(self.at + 4, 4)
            if tag == _ITEM and length != _UNDEFINED:
                start, self.at = self.at + 8, self.at + 8 + length
                if self.at > self.stop:
                    raise incomplete()
                found.append((start, self.at))
                if length % 2 and self._tag(self.at) != _ITEM and self._tag(self.at + 1) == _ITEM:
                    self.at += 1  # PS3.5 A.4: padded to even length, but counted without
            elif tag == _SEQUENCE_END or tag in _SWAPPED_ENDS:
                self.at += 8
                return tuple(found)
            elif tag == _ITEM_END:
                self.at += 8
            elif self._at_nulls():
                self._skip_nulls()
            else:
                break
        self._note("The compressed pixel data has no end mark; it was read up to the file's end.")
        return tuple(found)

    def _skip_nulls(self) -> None:
        """Skips zeros that stand where an element should begin."""
        if not self._at_nulls():
            return
        found = _NOT_NULL.search(self.data, self.at, self.stop)
        if found is None:
            self.at = self.stop
        else:
            self.at += (found.start() - self.at) // 2 * 2

    def _at_nulls(self) -> bool:
        return not self.data[self.at : min(self.at + 8, self.stop)].strip(b"\0")

    def _tag(self, at: int) -> int:
        return self._number(at, 2) << 16 | self._number(at + 2, 2)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], self._order)  # type: ignore[arg-type]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def looks_explicit(data: bytes, at: int) -> bool:
    """Whether the element at `at` is written with a VR, perhaps one of tomorrow."""
    vr = data[at + 4 : at + 6]
    return vr.isalpha() and vr.isupper()


def incomplete() -> ImageBroken:
    """Returns the refusal of a file that ends too early."""
    return ImageBroken(
        "Expected a complete DICOM file, got an incomplete one: it ends within an element. "
        "Check that the upload was complete, or export the image again."
    )
