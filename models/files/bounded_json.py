"""Bounds on untrusted JSON, checked before a value is made of it.

A parser that builds values makes fifty bytes of each byte of `[1,1,1,…`. So the text is measured
first, from one string to the next, and whatever would be too much is refused unbuilt.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BRACKET = re.compile(rb"[\[\]{}]")
_OPENS = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*")
_GOES_ON = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_MOST_BACKSLASHES = 4096
_NEVER = re.compile(rb"(?!)")
Text = bytes | bytearray


class TooMuchJson(ValueError):
    """A JSON text is longer, has more values or is nested more deeply than what is taken."""


class TooManyTexts(TooMuchJson):
    """The list whose texts are taken out has more of them than are taken."""


@dataclass(frozen=True, kw_only=True)
class JsonBounds:
    """The most that a JSON text may have.

    Attributes:
        text_bytes: length, without the texts that `cut_texts` takes out.
        elements: strings, and the commas and brackets beside them.
        depth: lists and objects within one another.
        escapes: escaped quotation marks.
    """

    text_bytes: int = 1024 * 1024
    elements: int = 16 * 1024
    depth: int = 16
    escapes: int = 8192


def check_bounds(text: Text, bounds: JsonBounds) -> None:
    """Returns if the text is within the bounds. Whether it is JSON, a parser says.

    Raises:
        TooMuchJson: it is not.
    """
    _Cutter(text, b"", bounds, 0).cut()


def cut_texts(
    text: Text, name: str, bounds: JsonBounds, *, most: int
) -> tuple[bytes, tuple[memoryview, ...]]:
    """Takes the strings of one list out of a JSON object, and checks the bounds of the rest.

    The list is the member `name` of the outermost object, written without escapes. Each string
    comes back as it is written, without its quotation marks; in its place the rest has "0", "1" and
    so on. The texts may be as long as they like.

    Raises:
        TooManyTexts: the list has more than `most` strings.
        TooMuchJson: the rest is beyond the bounds.
    """
    return _Cutter(text, b'"%s"' % name.encode(), bounds, most).cut()


class _Cutter:
    """Goes through a text from string to string."""

    def __init__(self, text: Text, name: bytes, bounds: JsonBounds, most: int) -> None:
        self._text, self._name, self._bounds, self._most = text, name, bounds, most
        self._length = self._elements = self._depth = 0
        self._kept: list[Text] = []
        self._found: list[memoryview] = []

    def cut(self) -> tuple[bytes, tuple[memoryview, ...]]:
        at, expected = 0, _NEVER  # what stands between the last string and one to take out
        for start, end in _find_strings(self._text, self._bounds.escapes):
            gap = self._keep(at, start)
            self._measure(gap)
            at = end
            if self._depth == 2 and expected.fullmatch(gap):
                self._take(start, end)
                expected = _GOES_ON
            else:
                string = self._keep(start, end)
                named = self._depth == 1 and string == self._name
                expected = _OPENS if named else _NEVER
        self._measure(self._keep(at, len(self._text)))
        return b"".join(self._kept), tuple(self._found)

    def _take(self, start: int, end: int) -> None:
        if len(self._found) == self._most:
            raise TooManyTexts(f"more than {self._most} texts in a list")
        self._kept.append(b'"%d"' % len(self._found))
        self._found.append(memoryview(self._text)[start + 1 : end - 1])

    def _keep(self, start: int, end: int) -> Text:
        self._length += end - start
        if self._length > self._bounds.text_bytes:
            raise TooMuchJson(f"more than {self._bounds.text_bytes} bytes")
        piece = self._text[start:end]
        self._kept.append(piece)
        return piece

    def _measure(self, gap: Text) -> None:
        """Counts the elements and the depth of what stands between two strings."""
        self._elements += 1 + sum(map(gap.count, (b",", b"[", b"]", b"{", b"}")))
        if self._elements > self._bounds.elements:
            raise TooMuchJson(f"more than {self._bounds.elements} values and brackets")
        for bracket in _BRACKET.findall(gap):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > self._bounds.depth:
                raise TooMuchJson(f"nested more than {self._bounds.depth} deep")


def _find_strings(text: Text, most_escapes: int) -> Iterator[tuple[int, int]]:
    """Where each string begins and ends, its quotation marks with it."""
    start, escaped = text.find(b'"'), 0
    while start >= 0:
        end = text.find(b'"', start + 1)
        while end >= 0 and _count_backslashes(text, start + 1, end) % 2:
            escaped += 1
            if escaped > most_escapes:
                raise TooMuchJson(f"more than {most_escapes} escaped quotation marks")
            end = text.find(b'"', end + 1)
        end = len(text) if end < 0 else end + 1  # a string without an end is no JSON
        yield start, end
        start = text.find(b'"', end)


def _count_backslashes(text: Text, start: int, end: int) -> int:
    """How many backslashes stand before `end`, without a gap and not before `start`."""
    size = 16
    while True:
        piece = text[max(start, end - size) : end]
        count = len(piece) - len(piece.rstrip(b"\\"))
        if count < size or size >= end - start:
            return count
        if size > _MOST_BACKSLASHES:
            raise TooMuchJson(f"more than {_MOST_BACKSLASHES} backslashes without a gap")
        size *= 16
