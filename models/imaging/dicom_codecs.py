"""Compressed DICOM frames for which a decoder is called directly, one file's worth of each.

pydicom's own plugins for JPEG 2000 and RLE need a further package, and none takes JPEG Extended
with 12 bits, which GDCM decodes.
"""

from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_openjpeg
from pydicom import uid
from rle.rle import decode_frame as decode_rle_planes

from models.imaging.codestream import StreamHeader
from models.imaging.errors import ImageBroken, PixelsUnsupported


def decode_jpeg_2000(
    stream: bytes, header: StreamHeader, *, signed: bool
) -> NDArray[np.signedinteger[Any] | np.unsignedinteger[Any]]:
    """Values of a JPEG 2000 or HTJ2K frame, (H, W) or (H, W, 3); RGB where the stream has MCT.

    `signed` decides how the stream's bits are read, whatever its own header says.
    """
    values = decode_openjpeg(stream)
    if header.signed == signed:
        return values
    return extend_bits(values.view(f"{'iu'[not signed]}{values.itemsize}"), header.precision)


def decode_rle(
    stream: bytes, *, rows: int, columns: int, samples: int, bits_allocated: int, signed: bool
) -> NDArray[np.signedinteger[Any] | np.unsignedinteger[Any]]:
    """Values of an RLE frame (PS3.5 annex G), (H, W) or (H, W, 3)."""
    planes = decode_rle_planes(stream, rows * columns, bits_allocated, "<")
    values = np.frombuffer(planes, f"<{'ui'[signed]}{bits_allocated // 8}")
    if samples == 1:
        return values.reshape(rows, columns)
    return values.reshape(samples, rows, columns).transpose(1, 2, 0)  # (H, W, 3)


def extend_bits(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """The low `bits` of each value, its sign extended where the type is signed (PS3.5 8.1.1)."""
    shift = 8 * values.itemsize - bits
    return values if shift == 0 else (values << shift) >> shift


def decode_jpeg_12_bit(stream: bytes, header: StreamHeader, *, signed: bool) -> NDArray[np.uint16]:
    """Values 0–4095 of one grey JPEG Extended frame; uint16, (H, W).

    Raises:
        PixelsUnsupported: the samples are signed or in colour.
        ImageBroken: the decoder gave another size than the header's.
    """
    if signed or header.components != 1:
        raise PixelsUnsupported(
            "Expected unsigned grey samples in a JPEG of 12 bits, got others. Convert the image."
        )
    text = _gdcm_image(stream, header).GetBuffer()
    values = np.frombuffer(text.encode("utf-8", "surrogateescape"), "<u2")  # a char* came as text
    if values.size != header.width * header.height or values.max() > 4095:
        raise ImageBroken("Expected a JPEG of 12 bits, got a damaged one. Export the image again.")
    return values.reshape(header.height, header.width)


def _gdcm_image(stream: bytes, header: StreamHeader) -> Any:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.width, header.height, 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(str(uid.JPEGExtended12Bit))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    return image
