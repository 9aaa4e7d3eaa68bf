"""Decodes one frame of a DICOM data set after checking its header."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from models.imaging.dicom.codecs import decode_jpeg_2000, decode_rle, decode_with_gdcm, extend_bits
from models.imaging.dicom.file import NATIVE_SYNTAXES, PLUGINS
from models.imaging.formats.codestream import StreamHeader, read_header
from models.imaging.pixels.errors import ImageBroken, PixelsMissing, PixelsUnsupported
from models.imaging.pixels.limits import ImageLimits

_GREY = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_YBR = {"YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LOSSLESS_JPEG = {uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_2000 = set(uid.JPEG2000TransferSyntaxes)


@dataclass(frozen=True, kw_only=True)
class PixelModule:
    """The Image Pixel module (PS3.3 C.7.6.3), as far as it describes one frame.

    Raises:
        PixelsUnsupported: the pixels are a mask, or of a kind that cannot be decoded faithfully.
        ImageBroken: the numbers of bits are impossible.
    """

    keyword: str
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int

    def __post_init__(self) -> None:
        if self.bits_allocated == 1:
            raise PixelsUnsupported(
                "Expected a picture, got a mask of 1 bit per pixel (a segmentation, perhaps). "
                "Send the image that it was drawn on."
            )
        if self.bits_allocated not in (8, 16, 32, 64) or (  # PS3.5 8.1.1
            not 1 <= self.bits_stored <= self.bits_allocated
        ):
            raise ImageBroken(
                "Expected BitsAllocated of 8, 16, 32 or 64 and BitsStored of no more, got others. "
                "Export the image again."
            )
        if self.samples != (1 if self.photometric in _GREY else 3) or (
            self.photometric not in _GREY | _YBR | {"RGB"}
        ):
            raise PixelsUnsupported(
                "Expected MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR_FULL pixels with the "
                "samples that belong to them, got others. Convert the image."
            )
        if self.high_bit != self.bits_stored - 1:
            raise PixelsUnsupported(
                f"Expected the high bit to be {self.bits_stored - 1} for {self.bits_stored} bits "
                f"stored, got {self.high_bit}. Convert the image."
            )
        if self.samples == 3 and (
            self.signed or (self.photometric in _YBR and self.bits_allocated > 8)
        ):
            raise PixelsUnsupported(
                "Expected unsigned colour, and YBR of 8 bits, got another kind. "
                "Convert the image to RGB."
            )

    @property
    def is_colour(self) -> bool:
        return self.samples == 3

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def read_pixel_module(dataset: Dataset) -> PixelModule:
    """Returns the data set's Image Pixel module.

    Raises:
        PixelsMissing: there is no pixel data.
        ImageBroken: a required element is missing or is not a number.
    """
    keyword = next((name for name in _PIXELS if name in dataset), None)
    if keyword is None:
        raise PixelsMissing
    if dataset.get("Modality") == "SEG":
        raise PixelsUnsupported(
            "Expected a picture, got a segmentation. Send the image that it was drawn on."
        )
    allocated = _whole(dataset, "BitsAllocated")
    stored = _whole(dataset, "BitsStored") if keyword == "PixelData" else allocated
    return PixelModule(
        keyword=keyword,
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        samples=_whole(dataset, "SamplesPerPixel", 1),
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_whole(dataset, "HighBit", stored - 1) if keyword == "PixelData" else stored - 1,
        signed=keyword == "PixelData" and _whole(dataset, "PixelRepresentation") == 1,
        frames=max(1, _whole(dataset, "NumberOfFrames", 1)),
    )


def _whole(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = dataset.get(keyword, default)
    if value is None or value == "":
        value = default
    if value is None:
        raise ImageBroken(
            f"Expected the DICOM element {keyword}, which decoding needs, got none. "
            "Export the image again."
        )
    return int(value)


def decode_frame(
    dataset: Dataset, module: PixelModule, index: int, limits: ImageLimits
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Returns one frame's stored values, (H, W) or RGB (H, W, 3), and notes on what was decided.

    Raises:
        ImageError: the frame is too large or too small, or the stream contradicts the data set.
    """
    limits.check_frame(
        width=module.columns,
        height=module.rows,
        bytes_per_pixel=max(1, module.samples * module.bits_allocated // 8),
    )
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in NATIVE_SYNTAXES:
        return _decode_with_pydicom(dataset, index), ()
    stream = _frame_stream(dataset, module, index)
    if syntax == uid.RLELossless:
        return _decode_rle(stream, module), ()
    header = read_header(stream)
    _check_header(header, module)
    notes = _stream_notes(header, module)
    if syntax in _JPEG_2000:
        values = decode_jpeg_2000(stream, header, signed=module.signed)
        return _to_rgb(values, module), notes
    if syntax in _LOSSLESS_JPEG or (syntax == uid.JPEGExtended12Bit and header.precision > 8):
        return _decode_with_gdcm(stream, header, syntax, module), notes
    return _decode_with_pydicom(dataset, index, PLUGINS[syntax]), notes


def _decode_with_pydicom(dataset: Dataset, index: int, plugin: str = "") -> NDArray[Any]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    pixels, _ = decoder.as_array(dataset, index=index, decoding_plugin=plugin)
    return pixels


def _decode_rle(stream: bytes, module: PixelModule) -> NDArray[Any]:
    # PS3.5 annex G: two bytes may stand for 128, but no valid frame is longer than its pixels by
    # more than a 128th.
    if len(stream) > 2 * module.frame_bytes + 1024:
        raise ImageBroken(
            "Expected an RLE frame no longer than its pixels, got a longer one. "
            "Export the image again."
        )
    values = decode_rle(
        stream,
        rows=module.rows,
        columns=module.columns,
        samples=module.samples,
        bits_allocated=module.bits_allocated,
        signed=module.signed,
    )
    return _to_rgb(extend_bits(values, module.bits_stored), module)


def _decode_with_gdcm(
    stream: bytes, header: StreamHeader, syntax: str, module: PixelModule
) -> NDArray[Any]:
    values = decode_with_gdcm(
        stream,
        header,
        syntax=syntax,
        photometric=module.photometric,
        bits_allocated=module.bits_allocated,
        bits_stored=module.bits_stored,
        signed=module.signed,
    )
    return _to_rgb(extend_bits(values, module.bits_stored), module)


def _to_rgb(values: NDArray[Any], module: PixelModule) -> NDArray[Any]:
    """Converts YBR_FULL to RGB; the JPEG 2000 decoder has already undone its ICT and RCT."""
    if not module.photometric.startswith("YBR_FULL"):
        return values
    return convert_color_space(np.ascontiguousarray(values), module.photometric, "RGB")


def _frame_stream(dataset: Dataset, module: PixelModule, index: int) -> bytes:
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    return get_frame(
        dataset.PixelData, index, number_of_frames=module.frames, extended_offsets=offsets
    )


def _check_header(header: StreamHeader, module: PixelModule) -> None:
    """Refuses a codestream of another size, which could be a bomb or not fit the frame."""
    stream = (header.width, header.height, header.components)
    if stream != (module.columns, module.rows, module.samples):
        raise ImageBroken(
            f"Expected a compressed frame of {module.columns} × {module.rows} pixels with "
            f"{module.samples} sample(s) each, got another. Export the image again."
        )


def _stream_notes(header: StreamHeader, module: PixelModule) -> tuple[str, ...]:
    """Notes that stream and data set disagree on bits; PixelRepresentation decides the sign."""
    same = header.precision == module.bits_stored and header.signed in (None, module.signed)
    if module.is_colour and not same:
        raise PixelsUnsupported(
            f"Expected compressed colour of {module.bits_stored} unsigned bits, as BitsStored and "
            f"PixelRepresentation say, got another kind of {header.precision} bits. "
            "Convert the image."
        )
    notes = []
    if header.signed not in (None, module.signed):
        said = "signed" if module.signed else "unsigned"
        notes.append(
            "The JPEG 2000 stream and PixelRepresentation disagree about the sign; the values were "
            f"read as {said}, as PixelRepresentation says."
        )
    if header.precision != module.bits_stored:
        notes.append(
            f"The compressed stream has {header.precision} bits per sample, BitsStored says "
            f"{module.bits_stored}."
        )
    return tuple(notes)
