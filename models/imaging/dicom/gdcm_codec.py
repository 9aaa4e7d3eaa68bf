"""Decodes one JPEG stream of a DICOM frame with GDCM, which a damaged stream can crash."""

import gdcm

from models.imaging.formats.codestream import StreamHeader


def decode_jpeg(
    stream: bytes,
    header: StreamHeader,
    *,
    syntax: str,
    photometric: str,
    bits_allocated: int,
    bits_stored: int,
    signed: bool,
) -> bytes:
    """Returns the samples of the stream, little-endian, with colours interleaved by pixel."""
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
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if header.components > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(
        gdcm.PixelFormat(header.components, bits_allocated, bits_stored, bits_stored - 1, signed)
    )
    # GDCM returns its char* as text; surrogates stand for bytes that are not valid UTF-8.
    samples: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return samples
