"""Decodes one frame of a DICOM image."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from models.imaging.dicom.codecs import (
    decode_jpeg,
    decode_jpeg_2000,
    decode_rle,
    decode_with_gdcm,
    extend_bits,
)
from models.imaging.dicom.dataset import DataSet
from models.imaging.dicom.file import NATIVE_SYNTAXES
from models.imaging.dicom.fragments import ITEM_STARTS, STREAM_STARTS, read_frame
from models.imaging.dicom.high_bit import place_bits
from models.imaging.dicom.pixels import YBR, PixelModule
from models.imaging.formats.codestream import (
    StreamHeader,
    StreamKind,
    close_stream,
    read_header,
)
from models.imaging.pixels.errors import ImageBroken, PixelsUnsupported
from models.imaging.pixels.limits import ImageLimits

Frame = tuple[NDArray[Any], tuple[str, ...]]
# One decoder for each kind of stream: two may differ in a pixel, and a certificate names pixels.
_KINDS: dict[str, StreamKind] = {
    uid.JPEGBaseline8Bit: "JPEG",
    uid.JPEGExtended12Bit: "JPEG",
    uid.JPEGLossless: "lossless JPEG",
    uid.JPEGLosslessSV1: "lossless JPEG",
    uid.JPEGLSLossless: "JPEG-LS",
    uid.JPEGLSNearLossless: "JPEG-LS",
}  # all others are JPEG 2000


def decode_frame(
    dataset: DataSet, syntax: uid.UID, module: PixelModule, index: int, limits: ImageLimits
) -> Frame:
    """Returns one frame's stored values, (H, W) or RGB (H, W, 3), and notes on what was decided.

    Raises:
        ImageError: the frame is too large or too small, or the stream contradicts the data set.
    """
    limits.check_frame(
        width=module.columns,
        height=module.rows,
        bytes_per_pixel=max(1, module.samples * module.bits_allocated // 8),
    )
    plain = syntax in NATIVE_SYNTAXES
    if module.is_shifted and (plain or syntax == uid.RLELossless):
        cells = replace(module, bits_stored=module.bits_allocated, high_bit=module.last_bit)
        values, notes = decode_frame(dataset, syntax, cells, index, limits)
        values, more = place_bits(values, bits_stored=module.bits_stored, high_bit=module.high_bit)
        return values, notes + more
    if plain:
        return _decode_native(dataset, syntax, module, index)
    stream, notes = _read_stream(dataset, syntax, module, index)
    if syntax == uid.RLELossless:
        return _decode_rle(stream, module), notes + _compare_label(module)
    header = read_header(stream)
    _check_header(header, module)
    notes += _list_stream_notes(header, module)
    if module.is_shifted:  # a stream's samples have no empty bits
        notes += (f"HighBit is {module.high_bit}, which compressed pixels do not have.",)
    if header.kind != _KINDS.get(syntax, "JPEG 2000"):
        notes += (f"The pixel data is a {header.kind} stream, unlike its transfer syntax.",)
    values, more = _decode_stream(stream, header, syntax, module)
    return values, notes + more


def _decode_stream(
    stream: bytes, header: StreamHeader, syntax: uid.UID, module: PixelModule
) -> Frame:
    """Decodes a JPEG, JPEG-LS or JPEG 2000 stream; the stream decides which it is."""
    match header.kind:
        case "JPEG 2000":
            values = decode_jpeg_2000(stream, header, signed=module.signed)
            return _undo_ybr(values, header, module)
        case "JPEG-LS":
            return _decode_with_pydicom(
                encapsulate([close_stream(stream)]),
                uid.JPEGLSLossless,
                module,
                decoding_plugin="pyjpegls",
            ), _compare_label(module)
        case "JPEG" if header.precision == 8:
            values, space, coded = decode_jpeg(stream, header, module.photometric)
            return _to_rgb(values, space), _compare_label(module, coded)
        case "JPEG":
            kind = uid.JPEGExtended12Bit
            return _decode_with_gdcm(stream, header, kind, module), _compare_label(module)
        case "lossless JPEG":
            kind = syntax if syntax == uid.JPEGLosslessSV1 else uid.JPEGLossless
            return _decode_with_gdcm(stream, header, kind, module), _compare_label(module)


def _decode_native(dataset: DataSet, syntax: uid.UID, module: PixelModule, index: int) -> Frame:
    """Decodes pixel data that is not compressed (PS3.5 8.1)."""
    place = dataset.find(module.keyword)
    value = dataset.get_bytes(module.keyword)
    order = ITEM_STARTS[0 if dataset.encoding.little else 1]
    if place is None or place.items is not None or value[:4] == order:
        raise _compressed(syntax)
    photometric = module.photometric
    notes = _compare_label(module)
    if photometric == "YBR_FULL_422" and len(value) >= module.frames * module.frame_bytes:
        photometric = "YBR_FULL"
        notes += ("The pixel data is not subsampled as YBR_FULL_422 is.",)
    size = module.frame_bytes // 3 * 2 if photometric == "YBR_FULL_422" else module.frame_bytes
    if len(value) < size * module.frames:
        if bytes(value[:12]).startswith((*ITEM_STARTS, *STREAM_STARTS)):
            raise _compressed(syntax)
        raise ImageBroken(
            f"Expected {size * module.frames} bytes of pixel data, as its size, bits and number of "
            f"frames say, got {len(value)}. The file may be incomplete; export the image again."
        )
    if len(value) > size * module.frames + 1:
        notes += ("The pixel data is longer than its size, bits and number of frames say.",)
    swapped = not dataset.encoding.little  # words whose bytes a frame may not begin with
    pixels = _decode_with_pydicom(
        bytes(value if swapped else value[index * size : (index + 1) * size]),
        uid.ExplicitVRBigEndian if swapped else uid.ExplicitVRLittleEndian,
        module,
        index=index if swapped else 0,
        number_of_frames=module.frames if swapped else 1,
        photometric_interpretation=photometric,
        pixel_keyword=module.keyword,
        pixel_vr=place.vr or "OW",
    )
    return pixels, notes


def _compressed(syntax: uid.UID) -> ImageBroken:
    return ImageBroken(
        f"Expected pixel data that is not compressed, as the transfer syntax {syntax} says, got "
        "compressed fragments or a stream. Correct TransferSyntaxUID, or export the image again."
    )


def _decode_with_pydicom(
    source: bytes, syntax: uid.UID, module: PixelModule, **options: Any
) -> NDArray[Any]:
    usual: dict[str, Any] = {
        "index": 0,
        "number_of_frames": 1,
        "rows": module.rows,
        "columns": module.columns,
        "samples_per_pixel": module.samples,
        "planar_configuration": int(module.planar),
        "photometric_interpretation": module.photometric,
        "bits_allocated": module.bits_allocated,
        "bits_stored": module.bits_stored,
        "pixel_representation": int(module.signed),
        "pixel_keyword": "PixelData",
    }
    pixels, _ = get_decoder(syntax).as_array(source, **(usual | options))
    return pixels


def _read_stream(
    dataset: DataSet, syntax: uid.UID, module: PixelModule, index: int
) -> tuple[bytes, tuple[str, ...]]:
    fragments = dataset.list_fragments(module.keyword)
    if fragments is None:
        raise ImageBroken(
            f"Expected compressed pixel data in fragments, as the transfer syntax {syntax} says, "
            "got a plain value. Correct TransferSyntaxUID, or export the image again."
        )
    return read_frame(dataset, fragments, index=index, frames=module.frames, syntax=syntax)


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
    return _to_rgb(extend_bits(values, module.bits_stored), module.photometric)


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
    return _to_rgb(extend_bits(values, module.bits_stored), module.photometric)


def _undo_ybr(values: NDArray[Any], header: StreamHeader, module: PixelModule) -> Frame:
    """Converts the colours of a JPEG 2000 frame to RGB.

    The decoder has undone the stream's own transform, ISO/IEC 15444-1 annex G, so its result is RGB
    whatever the label says. Without one, YBR_FULL describes the samples (PS3.5 8.2.4).
    """
    labelled_full = module.photometric.startswith("YBR_FULL")
    if header.transformed and labelled_full:
        note = (
            f"The JPEG 2000 stream has a multiple component transform, so its colours are RGB and "
            f"not {module.photometric}, as PhotometricInterpretation says."
        )
        return values, (note,)
    if not header.transformed and module.photometric in YBR and not labelled_full:
        note = (
            f"The JPEG 2000 stream has no multiple component transform, unlike "
            f"{module.photometric}; its colours were read as RGB."
        )
        return values, (note,)
    return _to_rgb(values, module.photometric), ()


def _compare_label(module: PixelModule, coded: str = "") -> tuple[str, ...]:
    """Returns a note if pixels that are not JPEG 2000 have another colour space than their label.

    Only JPEG 2000 has YBR_ICT and YBR_RCT (PS3.3 C.7.6.3.1.2). Elsewhere such a label was left over
    when the frame was decompressed, and the values are RGB.

    Args:
        module: has the label.
        coded: the colour space that the stream itself states; empty if it states none.
    """
    label = module.photometric
    usual = "YBR_FULL" if label.startswith("YBR_FULL") else "RGB"
    coded = coded or usual
    if not module.is_colour or (coded == usual and label not in ("YBR_ICT", "YBR_RCT")):
        return ()
    read = "YCbCr" if coded == "YBR_FULL" else "RGB"
    note = f"The colours were read as {read}, not as {label}, which PhotometricInterpretation says."
    return (note,)


def _to_rgb(values: NDArray[Any], photometric: str) -> NDArray[Any]:
    """Converts YBR_FULL to RGB."""
    if not photometric.startswith("YBR_FULL"):
        return values
    return convert_color_space(np.ascontiguousarray(values), photometric, "RGB")


def _check_header(header: StreamHeader, module: PixelModule) -> None:
    """Refuses a codestream of another size, which could be a bomb or not fit the frame."""
    stream = (header.width, header.height, header.components)
    if stream != (module.columns, module.rows, module.samples):
        raise ImageBroken(
            f"Expected a compressed frame of {module.columns} × {module.rows} pixels with "
            f"{module.samples} sample(s) each, got another. Export the image again."
        )


def _list_stream_notes(header: StreamHeader, module: PixelModule) -> tuple[str, ...]:
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
