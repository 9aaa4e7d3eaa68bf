"""Parses a DICOM file's data set: only the tags that pictures need, within limits."""

import zlib
from importlib.util import find_spec
from io import BytesIO

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from models.imaging.pixels.errors import ImageTooLarge, TransferSyntaxUnsupported
from models.imaging.pixels.limits import ImageLimits

MAX_ITEMS = 100_000
NATIVE_SYNTAXES = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
}
# One pydicom plugin for each syntax: two may differ in a pixel, and a certificate names pixels.
PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",  # with 8 bits; GDCM decodes 12 bits
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
}
_DIRECT = {  # decoded in `codecs`
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,  # but not those of Part 2, whose transforms OpenJPEG does not undo
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
}
_SYNTAXES = {*NATIVE_SYNTAXES, *PLUGINS, *_DIRECT}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_KEPT = [
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BurnedInAnnotation",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
]


def parse_dataset(data: bytes, limits: ImageLimits) -> Dataset:
    """Returns the data set of a DICOM Part 10 file with its transfer syntax and only the kept tags.

    Raises:
        TransferSyntaxUnsupported: the transfer syntax has no decoder here.
        ImageTooLarge: the data set inflates beyond the limit or has more than 100,000 items.
    """
    file = BytesIO(data)
    file.seek(132)  # PS3.10 7.1: preamble and prefix
    syntax = _read_transfer_syntax(file)
    body = file.read()
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        body = _inflate(body, limits)
    _check_items(body)
    dataset = read_dataset(
        BytesIO(body),
        is_implicit_VR=syntax == uid.ImplicitVRLittleEndian,
        is_little_endian=syntax != uid.ExplicitVRBigEndian,
        specific_tags=[Tag(keyword) for keyword in _KEPT],
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _read_transfer_syntax(file: BytesIO) -> uid.UID:
    """Returns the transfer syntax; leaves `file` after the file meta information (group 2)."""

    def is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 != 2

    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_past_meta)
    syntax = uid.UID(str(meta.get("TransferSyntaxUID", "")))
    if syntax not in _SYNTAXES:
        raise TransferSyntaxUnsupported(str(syntax))
    if syntax in _JPEG_LS and find_spec("jpeg_ls") is None:  # no wheel for Python 3.14
        raise TransferSyntaxUnsupported(str(syntax), lacking="pyjpegls")
    return syntax


def _check_items(body: bytes) -> None:
    """Limits sequence items (PS3.5 7.5): each becomes an object thirty times its size in bytes."""
    if body.count(b"\xfe\xff\x00\xe0") + body.count(b"\xff\xfe\xe0\x00") > MAX_ITEMS:
        raise ImageTooLarge(
            f"Expected at most {MAX_ITEMS} sequence items and fragments, got more. "
            "Send a file with fewer frames."
        )


def _inflate(body: bytes, limits: ImageLimits) -> bytes:
    """Returns the inflated data set (PS3.5 A.5); holds at most the limit plus one byte."""
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, limits.max_decoded_bytes + 1)
    limits.check_decoded(len(inflated))
    return inflated
