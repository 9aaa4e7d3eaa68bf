"""A DICOM data set of which only the elements are kept that a picture needs."""

import math
import re
from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from models.imaging.dicom.elements import PIXEL_DATA, Element, Encoding, Range, Walk
from models.imaging.pixels.errors import ImageBroken

_WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "US or SS": 2, "FL": 4, "FD": 8, "UV": 8, "SV": 8}
_TEXT = {"DS", "IS", "CS", "LO", "SH", "ST", "LT", "UT", "UN"}
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # PS3.5 6.2: DS
_LEADING = re.compile(r"\d{1,9}(?!\d)")
# A comma before three digits can also part thousands, so it is not read.
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,(\d{1,2}|\d{4,})([eE][+-]?\d+)?")


class DataSet:
    """The kept elements of a data set or of one item of a sequence.

    Attributes:
        data: the bytes that the elements are in.
        encoding: how the elements are written.
        notes: sentences about what was mended while values were read.
    """

    def __init__(self, data: bytes, encoding: Encoding, elements: dict[int, Element]) -> None:
        self.data, self.encoding, self._elements = data, encoding, elements
        self.notes: list[str] = []

    @classmethod
    def read(cls, walk: Walk, kept: Iterable[int]) -> Self:
        """Returns the kept elements of a walk; of repeated ones the first, of pixel data the last.

        Raises:
            ImageBroken: the walk ends within an element.
        """
        elements: dict[int, Element] = {}
        wanted = set(kept)
        try:
            for element in walk:
                if element.tag == PIXEL_DATA:  # an icon's would stand before, within its sequence
                    elements[element.tag] = element
                elif element.tag in wanted:
                    elements.setdefault(element.tag, element)
        except ImageBroken:
            if PIXEL_DATA not in elements:
                raise
            walk.notes.append("What follows the pixel data in the file cannot be read.")
        found = cls(walk.data, walk.encoding, elements)
        found.notes += walk.notes
        return found

    def __bool__(self) -> bool:
        return bool(self._elements)

    def __contains__(self, keyword: str) -> bool:
        return Tag(keyword) in self._elements

    def find(self, keyword: str) -> Element | None:
        """Returns where the element's value is."""
        return self._elements.get(Tag(keyword))

    def get_bytes(self, keyword: str) -> memoryview:
        """Returns the element's value as it is written; empty if there is none."""
        element = self.find(keyword)
        if element is None:
            return memoryview(b"")
        return memoryview(self.data)[element.start : element.stop]

    def get_code(self, keyword: str) -> str:
        """Returns the first value of a code string in upper case; empty if there is none.

        PS3.5 6.2 has upper case and padding of one space. Writers also pad with more, or with
        zeros, and use lower case.
        """
        return " ".join(self._list_texts(keyword)[0].upper().split())

    def list_wholes(self, keyword: str, *, signed: bool = False) -> list[int]:
        """Returns the whole numbers of an element.

        Args:
            keyword: names the element.
            signed: how to read numbers whose VR leaves the sign open.

        Raises:
            ImageBroken: the value is not a whole number.
        """
        vr = self._get_vr(keyword)
        if vr in _TEXT:
            texts = [text for text in self._list_texts(keyword) if text]
            try:
                return [int(float(text)) for text in texts]
            except (ValueError, OverflowError):
                raise unreadable(keyword) from None
        kind = "f" if vr in ("FL", "FD") else "i" if vr in ("SS", "SL", "SV") or signed else "u"
        return [int(value) for value in self._list_binary(keyword, f"{kind}{_WIDTHS.get(vr, 2)}")]

    def find_leading_whole(self, keyword: str) -> int | None:
        """Returns the number that a text begins with, as toolkits written in C read it."""
        found = _LEADING.match(self._list_texts(keyword)[0])
        return int(found[0]) if found else None

    def list_reals(self, keyword: str) -> list[float]:
        """Returns the numbers of an element of VR DS or a binary one; NaN for what is no number.

        A decimal comma is read as a point, with a note.
        """
        vr = self._get_vr(keyword)
        if vr not in _TEXT and vr in _WIDTHS:
            kind = "f" if vr in ("FL", "FD") else "i" if vr in ("SS", "SL", "SV") else "u"
            return [float(value) for value in self._list_binary(keyword, f"{kind}{_WIDTHS[vr]}")]
        texts = self._list_texts(keyword)
        return [] if texts == [""] else [self._parse_real(text, keyword) for text in texts]

    def get_words(self, keyword: str) -> NDArray[np.uint16]:
        """Returns the 16-bit words of an element in their order; (n,)."""
        value = self.get_bytes(keyword)
        return np.frombuffer(value[: len(value) // 2 * 2], self._order + "u2").astype(np.uint16)

    def list_items(self, keyword: str, kept: Iterable[int]) -> list["DataSet"]:
        """Returns the items of a sequence, with their kept elements."""
        places = self.list_places(keyword)
        return [self.read_item(keyword, place, kept) for place in places]

    def list_places(self, keyword: str) -> tuple[Range, ...]:
        """Returns where the items of a sequence are."""
        element = self.find(keyword)
        if element is None or element.start == element.stop:
            return ()
        return Walk(self.data, self.encoding).list_items(element)

    def list_fragments(self, keyword: str) -> tuple[Range, ...] | None:
        """Returns the fragments of encapsulated pixel data, or None if it is a plain value.

        Their length should be undefined (PS3.5 A.4). A value of fragments whose length is given is
        read too.
        """
        element = self.find(keyword)
        if element is None or element.items is not None:
            return None if element is None else element.items
        return Walk(self.data, self.encoding).find_fragments(element)

    def read_item(self, keyword: str, place: Range, kept: Iterable[int]) -> "DataSet":
        """Returns one item of a sequence."""
        element = self._elements[Tag(keyword)]
        start, stop = place
        encoding = Walk(self.data, self.encoding).get_inner_encoding(element.vr, start)
        return DataSet.read(Walk(self.data, encoding, at=start, stop=stop), kept)

    @property
    def _order(self) -> str:
        return "<" if self.encoding.little else ">"

    def _get_vr(self, keyword: str) -> str:
        """Returns the VR that is written, or else the dictionary's."""
        element = self.find(keyword)
        usual = dictionary_VR(keyword)
        written = "" if element is None else element.vr
        return usual if written in ("", "UN", "OB", "OW") else written

    def _list_texts(self, keyword: str) -> list[str]:
        text = bytes(self.get_bytes(keyword)).decode("latin-1")
        return [part.strip(" \0\t\r\n") for part in text.split("\\")]

    def _list_binary(self, keyword: str, kind: str) -> NDArray[np.generic]:
        dtype = np.dtype(self._order + kind)
        value = self.get_bytes(keyword)
        return np.frombuffer(value[: len(value) // dtype.itemsize * dtype.itemsize], dtype)

    def _parse_real(self, text: str, keyword: str) -> float:
        if _DECIMAL_COMMA.fullmatch(text):
            self.notes.append(f"{keyword} has a decimal comma; it was read as a point.")
            text = text.replace(",", ".")
        return float(text) if _REAL.fullmatch(text) else math.nan


def unreadable(keyword: str) -> ImageBroken:
    """Returns the refusal of an element whose value is no number."""
    return ImageBroken(
        f"Expected the DICOM element {keyword} to be a number, got a text that is none. "
        "Correct the element, or export the image again."
    )
