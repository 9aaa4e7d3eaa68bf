"""A DICOM file's data set: only the tags that make a picture, and no more bytes than allowed."""

import zlib
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
# pydicom's plugin, one for each syntax: two may differ in a pixel, and a certificate names pixels.
PLUGINS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",  # with 8 bits; with 12, GDCM
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
}
_DIRECT = {  # decoded in `codecs`
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,  # and not those of Part 2, whose transforms OpenJPEG does not undo
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
}
_SYNTAXES = {*NATIVE_SYNTAXES, *PLUGINS, *_DIRECT}
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
    """The data set of a DICOM Part 10 file, with its transfer syntax, without any other tag.

    Raises:
        TransferSyntaxUnsupported: the transfer syntax has no decoder here.
        ImageTooLarge: the data set inflates beyond the limit, or has more than 100,000 items.
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
    """The transfer syntax; leaves `file` where the file meta information (group 2) ends."""

    def is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 != 2

    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_past_meta)
    syntax = uid.UID(str(meta.get("TransferSyntaxUID", "")))
    if syntax not in _SYNTAXES:
        raise TransferSyntaxUnsupported(str(syntax))
    return syntax


def _check_items(body: bytes) -> None:
    """Each item of a sequence (PS3.5 7.5) becomes an object, thirty times as large as its bytes."""
    if body.count(b"\xfe\xff\x00\xe0") + body.count(b"\xff\xfe\xe0\x00") > MAX_ITEMS:
        raise ImageTooLarge(
            f"Expected at most {MAX_ITEMS} sequence items and fragments, got more. "
            "Send a file with fewer frames."
        )


def _inflate(body: bytes, limits: ImageLimits) -> bytes:
    """The inflated data set (PS3.5 A.5), never holding more than the limit and one byte."""
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, limits.max_decoded_bytes + 1)
    limits.check_decoded(len(inflated))
    return inflated
