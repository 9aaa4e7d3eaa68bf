"""Reads the headers of JPEG, JPEG-LS and JPEG 2000 codestreams before a decoder does."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.imaging.pixels.errors import ImageBroken

# ISO/IEC 10918-1 table B.1: frame headers (SOF) without DHT, JPG and DAC, and JPEG-LS's SOF55.
_FRAME_MARKERS = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}  # TEM, RSTm, SOI: not followed by a length
_SCAN, _END = 0xDA, 0xD9
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_JPEG_LS = 0xF7
_COD, _SOT = 0x52, 0x90  # ISO/IEC 15444-1 table A.2

StreamKind = Literal["JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000"]


@dataclass(frozen=True, kw_only=True)
class StreamHeader:
    """Size and sample format that a codestream declares.

    Attributes:
        kind: Which kind of codestream it is.
        width, height: In pixels.
        components: Samples per pixel.
        precision: Bits of a sample.
        signed: Whether samples are signed; None where only JPEG 2000 would say.
        transformed: Whether a JPEG 2000 stream has a multiple component transform (annex G).
    """

    kind: StreamKind
    width: int
    height: int
    components: int
    precision: int
    signed: bool | None = None
    transformed: bool = False


def jpeg_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the markers and payloads of a JPEG or JPEG-LS stream, up to the first scan."""
    for start, stop, marker in list_segments(stream):
        yield marker, stream[start + 4 : stop]


def list_segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields where the segments of a stream begin and end, and their markers, up to the scan."""
    position = 0
    while (position := stream.find(b"\xff", position)) >= 0 and position + 4 <= len(stream):
        marker = stream[position + 1]
        if marker in (_SCAN, _END):
            return
        if marker in _BARE_MARKERS or marker in (0x00, 0xFF):
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", stream, position + 2)
        yield position, position + 2 + length, marker
        position += 2 + length


def list_component_ids(stream: bytes) -> bytes:
    """Returns the identifiers of a JPEG stream's components, one byte each (B.2.2)."""
    return _get_components(stream)[::3]


def is_subsampled(stream: bytes) -> bool:
    """Whether components of a JPEG stream have different sampling factors, as only YCbCr has."""
    return len(set(_get_components(stream)[1::3])) > 1


def _get_components(stream: bytes) -> bytes:
    """Returns the frame header's three bytes for each component: name, sampling factors, table."""
    for marker, payload in jpeg_segments(stream):
        if marker in _FRAME_MARKERS and len(payload) >= 6:
            return payload[6 : 6 + 3 * payload[5]]
    return b""


def close_stream(stream: bytes) -> bytes:
    """Returns a JPEG-LS stream that ends with an end marker.

    CharLS counts to billions at the end of some streams that were cut.
    """
    return stream if stream.rstrip(b"\0").endswith(b"\xff\xd9") else stream + b"\xff\xd9"


def has_junk(stream: bytes) -> bool:
    """Whether there is anything between the segments of a JPEG stream before its first scan.

    Only fill bytes, 0xFF, may be there (ISO/IEC 10918-1 B.1.1.2).
    """
    position = 2  # after SOI
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == _SCAN:
            return False
        if marker == 0xFF or marker in _BARE_MARKERS:
            position += 1 if marker == 0xFF else 2
            continue
        position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return True


def read_header(stream: bytes) -> StreamHeader:
    """Returns the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Raises:
        ImageBroken: there is no header.
    """
    if stream.startswith(b"\xff\xd8"):
        for marker, payload in jpeg_segments(stream):
            if marker in _FRAME_MARKERS and len(payload) >= 6:
                precision, height, width, components = struct.unpack_from(">BHHB", payload)
                return StreamHeader(
                    kind=_get_kind(marker),
                    width=width,
                    height=height,
                    components=components,
                    precision=precision,
                )
    # ISO/IEC 15444-1 A.5.1: SIZ follows SOC; in a JP2 file both come after the boxes.
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 43:
        raise ImageBroken(
            "Expected a JPEG, JPEG-LS or JPEG 2000 stream in the pixel data, got something else. "
            "Export the image again."
        )
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    components, sample = struct.unpack_from(">HB", stream, start + 40)
    return StreamHeader(
        kind="JPEG 2000",
        width=right - left,
        height=bottom - top,
        components=components,
        precision=(sample & 0x7F) + 1,
        signed=bool(sample & 0x80),
        transformed=_is_transformed(stream, start + 2),
    )


def _get_kind(marker: int) -> StreamKind:
    if marker == _JPEG_LS:
        return "JPEG-LS"
    return "lossless JPEG" if marker in _LOSSLESS else "JPEG"


def _is_transformed(stream: bytes, position: int) -> bool:
    """Whether COD, A.6.1, asks for a multiple component transform; `position` is at SIZ."""
    while position + 4 <= len(stream) and stream[position] == 0xFF and stream[position + 1] != _SOT:
        if stream[position + 1] == _COD:
            return stream[position + 8 : position + 9] == b"\1"
        position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return False
