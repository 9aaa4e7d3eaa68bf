"""Reads the headers of JPEG 2000 files before a decoder trusts them (ISO/IEC 15444-1)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from models.imaging.pixels.errors import ImageBroken

CODESTREAM = b"\xff\x4f\xff\x51"  # A.4.1, A.5.1: SOC and SIZ
JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # I.5.1: the signature box
_MAX_BOXES = 1000
_METHODS_WITH_PROFILE = (2, 3)  # I.5.3.3: METH of the colour specification


@dataclass(frozen=True, kw_only=True)
class Component:
    """How one component is stored; `step` is (1, 1) if it has a sample for each pixel."""

    precision: int
    signed: bool
    step: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Jpeg2000Header:
    """Size and components of the codestream, and what the file says of its colours.

    `palette` is whether a palette maps components to colours; `profile` is the file's colour
    profile, empty if there is none.
    """

    width: int
    height: int
    components: tuple[Component, ...]
    palette: bool
    profile: bytes = b""


def read_jpeg2000_header(data: bytes) -> Jpeg2000Header:
    """Returns the header of a JP2 file or of a bare codestream.

    Raises:
        ImageBroken: the file is truncated, or file and codestream disagree about the size.
    """
    try:
        return _read_file(data) if data.startswith(JP2) else _read_stream(data, palette=False)
    except struct.error:
        raise _broken("a header") from None


def _read_file(data: bytes) -> Jpeg2000Header:
    size, palette, profile = None, False, b""
    for kind, start, stop in _boxes(data, 0, len(data)):
        if kind == b"jp2h":  # I.5.3
            for inner, begin, end in _boxes(data, start, stop):
                if inner == b"ihdr":
                    height, width = struct.unpack_from(">II", data, begin)
                    size = width, height
                palette = palette or inner == b"pclr"
                if inner == b"colr" and data[begin] in _METHODS_WITH_PROFILE:
                    profile = profile or data[begin + 3 : end]
        elif kind == b"jp2c":  # I.5.4
            header = _read_stream(data[start:stop], palette=palette)
            if size != (header.width, header.height):
                raise _broken("a file header and a codestream of one size")
            return replace(header, profile=profile)
    raise _broken("a codestream")


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each box and where its content begins and ends (I.4)."""
    for _ in range(_MAX_BOXES):
        if start >= stop:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        end = stop if length == 0 else start + length
        if end > stop or (length and length < head):
            raise _broken("boxes that fit into their file")
        yield kind, start + head, end
        start = end
    raise _broken(f"at most {_MAX_BOXES} boxes")


def _read_stream(stream: bytes, *, palette: bool) -> Jpeg2000Header:
    """Reads SIZ, A.5.1."""
    if not stream.startswith(CODESTREAM):
        raise _broken("a codestream")
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    (count,) = struct.unpack_from(">H", stream, 40)
    components = tuple(
        Component(precision=(depth & 0x7F) + 1, signed=bool(depth & 0x80), step=(across, down))
        for depth, across, down in struct.iter_unpack(">BBB", stream[42 : 42 + 3 * count])
    )
    if len(components) != count or not components or right <= left or bottom <= top:
        raise _broken("a size and components")
    return Jpeg2000Header(
        width=right - left, height=bottom - top, components=components, palette=palette
    )


def _broken(expected: str) -> ImageBroken:
    return ImageBroken(
        f"Expected a JPEG 2000 file with {expected}, got another. Export the image again."
    )
