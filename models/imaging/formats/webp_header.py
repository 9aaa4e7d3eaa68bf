"""Reads a WebP file's size and whether it is animated, before a decoder allocates memory."""

import struct
from dataclasses import dataclass

from models.imaging.pixels.errors import ImageBroken

_ANIMATED = 0x02


@dataclass(frozen=True, kw_only=True)
class WebpHeader:
    """The contents of the first chunk (RFC 9649)."""

    width: int
    height: int
    animated: bool


def read_webp_header(data: bytes) -> WebpHeader:
    """Returns the header of a WebP file.

    Raises:
        ImageBroken: there is no header.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise _broken()
    if kind == b"VP8X":  # 2.7: flags, then width minus one and height minus one in 24 bits each
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
        return WebpHeader(width=width, height=height, animated=bool(body[0] & _ANIMATED))
    if kind == b"VP8L" and body[0] == 0x2F:  # 3.4: both minus one, in 14 bits each
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        return WebpHeader(width=width, height=height, animated=False)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":  # RFC 6386, 9.1
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
        return WebpHeader(width=width, height=height, animated=False)
    raise _broken()


def _broken() -> ImageBroken:
    return ImageBroken("Expected a WebP file with a header, got none. Export the image again.")
