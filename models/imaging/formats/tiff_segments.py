"""Decompresses the strips and tiles of a TIFF page, each within its own size.

Pillow's libtiff has the decompressors, but it shows only some kinds of samples. So a segment is
given to it as an 8-bit picture, and its bytes come back whatever they stand for.
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_openjpeg
from PIL import Image

from models.imaging.formats.codestream import read_header
from models.imaging.pixels.errors import ImageBroken

NONE = 1
_DEFLATE = (8, 32946, 50013)
PACK_BITS = 32773
_BY_LIBTIFF = (5, PACK_BITS, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
JPEG_2000 = (33003, 33004, 33005, 34712)  # Aperio's with YCbCr, lossless and RGB; Leadtools'
APERIO_YCBCR = 33003
BYTE_CODECS = (NONE, *_DEFLATE, *_BY_LIBTIFF)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Decompress = Callable[[bytes, int, int], bytes]
"""Takes a segment, its rows and the bytes of a row, and returns rows × bytes."""


def get_decompress(compression: int, *, reverse_bits: bool) -> Decompress:
    """Returns the decompressor of a code in `BYTE_CODECS`.

    Args:
        compression: the value of the tag Compression.
        reverse_bits: whether the bits of each byte lie from low to high (FillOrder 2).
    """

    def decompress(segment: bytes, rows: int, row_bytes: int) -> bytes:
        if reverse_bits:
            segment = segment.translate(_REVERSED)
        if compression == NONE:
            whole = segment[: rows * row_bytes]
        elif compression in _DEFLATE:
            whole = zlib.decompressobj().decompress(segment, rows * row_bytes)
        else:
            whole = _ask_libtiff(segment, compression, rows, row_bytes)
        if len(whole) < rows * row_bytes:
            raise ImageBroken(
                "Expected TIFF strips or tiles as long as the page's size says, got a shorter one. "
                "The file may be incomplete; export the image again."
            )
        return whole

    return decompress


def _ask_libtiff(segment: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decompresses a segment as the only strip of a picture with one byte for each pixel."""
    tags = {
        256: row_bytes,
        257: rows,
        258: 8,
        259: compression,
        262: 1,
        273: 0,
        277: 1,
        278: rows,
        279: len(segment),
    }
    begins = 8 + 2 + 12 * len(tags) + 4
    tags[273] = begins
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with Image.open(BytesIO(head + segment), formats=["TIFF"]) as image:
        return image.tobytes()


def decode_jpeg_2000(
    segment: bytes, *, rows: int, columns: int, samples: int, ycbcr: bool
) -> NDArray[Any]:
    """Returns the values of a JPEG 2000 segment; (rows, columns, samples).

    With `ycbcr`, a stream without a multiple component transform holds YCbCr, which becomes RGB.

    Raises:
        ImageBroken: the stream has another size.
    """
    header = read_header(segment)
    if (header.width, header.components) != (columns, samples) or header.height != rows:
        raise ImageBroken(
            f"Expected a JPEG 2000 stream of {columns} × {rows} pixels with {samples} sample(s), "
            "got another. Export the image again."
        )
    values = np.asarray(decode_openjpeg(segment)).reshape(rows, columns, samples)
    if not ycbcr or header.transformed or samples != 3 or values.dtype != np.uint8:
        return values
    return np.asarray(Image.frombytes("YCbCr", (columns, rows), values.tobytes()).convert("RGB"))
