"""Calls decoders directly for some kinds of compressed DICOM frames.

pydicom's own plugins for JPEG 2000 and RLE need a further package, its GDCM plugin does not accept
JPEG Extended with 12 bits, and its Pillow plugin converts the colours of Adobe's JPEG twice.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_openjpeg
from PIL import Image
from rle.utils import decode_pixel_data as decode_rle_planes

from models.imaging.dicom import gdcm_codec
from models.imaging.formats.codestream import (
    StreamHeader,
    has_junk,
    is_subsampled,
    list_component_ids,
)
from models.imaging.pixels.errors import ImageBroken


def decode_jpeg(
    stream: bytes, header: StreamHeader, photometric: str
) -> tuple[NDArray[np.uint8], str, str]:
    """Returns the values of a JPEG frame of 8 bits, (H, W) or (H, W, 3), and two colour spaces.

    The first is that of the values, the second that of the stream; for grey values both are
    `photometric`, the data set's label. The stream is believed before the label: components named
    R, G and B are RGB, and a JFIF marker or subsampled colours are YCbCr. Adobe's marker makes the
    decoder return RGB. Only where the stream says nothing does the label decide.
    """
    image = Image.open(BytesIO(stream), formats=["JPEG"])
    if header.components != 3:
        return np.asarray(image), photometric, photometric
    labelled = "YBR_FULL" if photometric.startswith("YBR") else "RGB"
    if list_component_ids(stream) in (b"RGB", b"rgb"):
        return np.asarray(image), "RGB", "RGB"
    if "adobe_transform" in image.info:
        as_coded = image.info["adobe_transform"] == 0  # then the label says what the samples are
        return np.asarray(image), *((labelled, labelled) if as_coded else ("RGB", "YBR_FULL"))
    image.draft("YCbCr", image.size)  # the samples as they are coded, without a conversion
    says = "jfif" in image.info or is_subsampled(stream)
    space = "YBR_FULL" if says else labelled
    return np.asarray(image), space, space


def decode_jpeg_2000(stream: bytes, header: StreamHeader, *, signed: bool) -> NDArray[Any]:
    """Returns the values of a JPEG 2000 or HTJ2K frame, (H, W) or (H, W, 3); RGB if it has MCT.

    `signed` decides how the stream's bits are read, whatever the stream's own header says.
    """
    values = decode_openjpeg(stream)
    if header.signed == signed:
        return values
    return extend_bits(values.view(_type(values.itemsize, signed=signed)), header.precision)


def decode_rle(
    stream: bytes, *, rows: int, columns: int, samples: int, bits_allocated: int, signed: bool
) -> NDArray[Any]:
    """Returns the values of an RLE frame (PS3.5 annex G), (H, W) or (H, W, 3)."""
    try:
        planes = decode_rle_planes(
            stream, version=2, rows=rows, columns=columns, bits_allocated=bits_allocated
        )
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # a Rust panic is not an Exception
            raise _broken("RLE") from None
        raise
    values = np.frombuffer(planes, _type(bits_allocated // 8, signed=signed))
    if samples == 1:
        return values.reshape(rows, columns)
    return values.reshape(samples, rows, columns).transpose(1, 2, 0)  # (H, W, 3)


def decode_with_gdcm(
    stream: bytes,
    header: StreamHeader,
    *,
    syntax: str,
    photometric: str,
    bits_allocated: int,
    bits_stored: int,
    signed: bool,
) -> NDArray[Any]:
    """Returns the values of a JPEG frame, (H, W) or (H, W, 3).

    Raises:
        ImageBroken: the samples are too wide for this kind of stream, there is junk between its
            segments, or GDCM returned the wrong number of bytes.
    """
    # PS3.5 8.2.1. GDCM ends its process if it is asked for another size, or at junk.
    if bits_allocated not in (8, 16) or not max(bits_stored, header.precision) <= bits_allocated:
        raise _broken("JPEG")
    if has_junk(stream):
        raise _broken("JPEG")
    shape: tuple[int, ...] = (header.height, header.width)
    if header.components > 1:
        shape += (header.components,)
    samples = gdcm_codec.decode_jpeg(
        stream,
        header,
        syntax=syntax,
        photometric=photometric,
        bits_allocated=bits_allocated,
        # GDCM ends its process at fewer than 8; the caller extends the bits that are stored.
        bits_stored=max(bits_stored, 8),
        signed=signed,
    )
    values = np.frombuffer(samples, _type(bits_allocated // 8, signed=signed))
    if values.size != np.prod(shape):
        raise _broken("JPEG")
    return values.reshape(shape)


def _type(size_bytes: int, *, signed: bool) -> np.dtype[Any]:
    return np.dtype(f"<{'ui'[signed]}{size_bytes}")


def _broken(kind: str) -> ImageBroken:
    return ImageBroken(
        f"Expected a sound {kind} frame, got one that cannot be decoded. Export the image again."
    )


def extend_bits(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Returns the low `bits` of each value; signed types are sign-extended (PS3.5 8.1.1)."""
    shift = 8 * values.itemsize - bits
    return values if shift == 0 else (values << shift) >> shift
