"""Parses a DICOM file's data set: only the tags that pictures need, within limits."""

import zlib
from importlib.util import find_spec

from pydicom import uid
from pydicom.tag import Tag

from models.imaging.dicom.dataset import DataSet
from models.imaging.dicom.elements import Encoding, Walk, incomplete, looks_explicit
from models.imaging.pixels.errors import ImageTooLarge, TransferSyntaxUnsupported
from models.imaging.pixels.limits import ImageLimits

MAX_ITEMS = 100_000
NATIVE_SYNTAXES = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
}
_COMPRESSED = {
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,  # but not those of Part 2, whose transforms OpenJPEG does not undo
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
}
TRANSFER_SYNTAXES = NATIVE_SYNTAXES | _COMPRESSED
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_META = Encoding(implicit=False, little=True)  # PS3.10 7.1
_TRANSFER_SYNTAX = 0x00020010
_KEPT = frozenset(
    Tag(keyword)
    for keyword in (
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
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "ICCProfile",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "PixelData",
    )
)


def parse_dataset(data: bytes, limits: ImageLimits) -> tuple[DataSet, uid.UID]:
    """Returns the kept elements of a DICOM Part 10 file, and its transfer syntax.

    Raises:
        TransferSyntaxUnsupported: the transfer syntax has no decoder here.
        ImageTooLarge: the data set inflates beyond the limit or has more than 100,000 items.
        ImageBroken: the file ends within an element.
    """
    syntax, start = _read_transfer_syntax(data)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        data, start = _inflate(data[start:], limits), 0
    _check_items(data)
    said = Encoding(
        implicit=syntax == uid.ImplicitVRLittleEndian, little=syntax != uid.ExplicitVRBigEndian
    )
    written = _find_encoding(data, start, said)
    dataset = DataSet.read(Walk(data, written, at=start), _KEPT)
    if written.implicit != said.implicit:
        kind = "implicit" if written.implicit else "explicit"
        dataset.notes.append(f"The file has {kind} VRs, unlike its transfer syntax.")
    if written.little != said.little:
        order = "little-endian" if written.little else "big-endian"
        dataset.notes.append(f"The file is {order}, unlike its transfer syntax.")
    return dataset, syntax


def _find_encoding(data: bytes, start: int, said: Encoding) -> Encoding:
    """Returns how the data set at `start` is written, as its first element shows.

    Data sets begin with a group below 0x100, whose number is above in the other byte order.
    """
    if start + 8 > len(data):
        return said
    group = data[start : start + 2] if said.little else data[start : start + 2][::-1]
    swapped = group[0] == 0 and group[1] > 0
    return Encoding(implicit=not looks_explicit(data, start), little=said.little != swapped)


def _read_transfer_syntax(data: bytes) -> tuple[uid.UID, int]:
    """Returns the transfer syntax, and where the file meta information (group 2) ends."""
    walk = Walk(data, _META, at=132)  # PS3.10 7.1: after preamble and prefix
    found = ""
    elements = iter(walk)
    while (tag := walk.peek()) is not None and tag >> 16 == 2:
        element = next(elements)
        if element.tag == _TRANSFER_SYNTAX:
            found = data[element.start : element.stop].decode("latin-1").strip(" \0")
    if walk.peek() is None and not found:
        raise incomplete()
    syntax = uid.UID(found)
    if syntax not in TRANSFER_SYNTAXES:
        raise TransferSyntaxUnsupported(str(syntax))
    if syntax in _JPEG_LS and find_spec("jpeg_ls") is None:  # no wheel for Python 3.14
        raise TransferSyntaxUnsupported(str(syntax), lacking="pyjpegls")
    return syntax, walk.at


def _check_items(body: bytes) -> None:
    """Limits sequence items (PS3.5 7.5): each becomes an object thirty times its size in bytes."""
    if body.count(b"\xfe\xff\x00\xe0") + body.count(b"\xff\xfe\xe0\x00") > MAX_ITEMS:
        raise ImageTooLarge(
            f"Expected at most {MAX_ITEMS} sequence items and fragments, got more. "
            "Send a file with fewer frames."
        )


def _inflate(body: bytes, limits: ImageLimits) -> bytes:
    """Returns the inflated data set (PS3.5 A.5); holds at most the limit plus one byte.

    The standard has no zlib header, but some writers have one (RFC 1950, 2.2).
    """
    headed = body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0
    bits = zlib.MAX_WBITS if headed else -zlib.MAX_WBITS
    inflated = zlib.decompressobj(bits).decompress(body, limits.max_decoded_bytes + 1)
    limits.check_decoded(len(inflated))
    return inflated
