"""Detects an image file's format and calls its decoder."""

from collections.abc import Callable
from dataclasses import replace

from models.imaging.formats.jpeg2000 import decode_jpeg2000
from models.imaging.formats.jpeg2000_header import CODESTREAM, JP2
from models.imaging.formats.pillow import decode_jpeg, decode_png, decode_webp
from models.imaging.pixels.decoded import DecodedImage, Source
from models.imaging.pixels.errors import ImageEmpty, ImageFormatUnsupported
from models.imaging.pixels.frames import choose_frame
from models.imaging.pixels.guard import guarded
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.window import RequestedWindow, check_window

_DEFAULT_LIMITS = ImageLimits()
_DICOM_UID_ROOT = b"1.2.840.10008."
_SIGNATURES: tuple[tuple[bytes, Source], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
    (JP2, "jpeg2000"),
    (CODESTREAM, "jpeg2000"),
)
_STILL: dict[Source, Callable[..., DecodedImage]] = {
    "png": decode_png,
    "jpeg": decode_jpeg,
    "jpeg2000": decode_jpeg2000,
    "webp": decode_webp,
}


def parse_image(
    data: bytes,
    *,
    frame: int | None = None,
    window: RequestedWindow = None,
    limits: ImageLimits = _DEFAULT_LIMITS,
    refuse_burned_in: bool = False,
) -> DecodedImage:
    """Decodes one frame of an image file to 8-bit RGB, or raises an `ImageError` that says why not.

    The format is detected from the content. Whatever the bytes, nothing but `ImageError` is raised,
    no warning or log line gets out, and only the pixels of the file are kept. Untrusted files still
    belong in a `Decoder`: this function does not limit time or memory, and a decoder that crashes
    ends this process. Calls from several threads take turns.

    Args:
        data: The whole file.
        frame: The frame to decode, from 0. Needed if there are several.
        window: (centre, width) in the image's own units, with a width of at least 1, as in DICOM's
            LINEAR function; "auto" for a window between the 0.5 and 99.5 percentiles. With None,
            DICOM files use their own first window, or else their VOI lookup table, or else the
            percentiles; other deep grey images use their full range of values.
        limits: Checked before memory is allocated.
        refuse_burned_in: Whether to refuse DICOM files that declare burned-in text. If False, a
            note reports it.

    Raises:
        ImageError: see `models.imaging.pixels.errors`.
    """
    check_window(window)
    source = _detect(data, limits)
    with guarded() as warned:
        decoded = _decode(data, source, frame, window, limits, refuse_burned_in)
    if not warned:
        return decoded
    note = "The file departs from its format's standard; the decoder read it nevertheless."
    return replace(decoded, notes=(*decoded.notes, note))


def _detect(data: bytes, limits: ImageLimits) -> Source:
    if not data:
        raise ImageEmpty
    limits.check_file(len(data))
    if data[128:132] == b"DICM":  # first: PS3.10 7.1 lets the preamble be another format's header
        return "dicom"
    for signature, source in _SIGNATURES:
        if data.startswith(signature):
            return source
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if _DICOM_UID_ROOT in data[:4096]:
        raise ImageFormatUnsupported(
            "Expected a DICOM file with preamble and file meta information, got what seems to be "
            "a bare data set. Store it as a DICOM Part 10 file that names its transfer syntax."
        )
    raise ImageFormatUnsupported(
        "Expected a PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM file, got something else (the "
        "content decides, not the name). Convert the image."
    )


def _decode(
    data: bytes,
    source: Source,
    frame: int | None,
    window: RequestedWindow,
    limits: ImageLimits,
    refuse_burned_in: bool,
) -> DecodedImage:
    if source == "dicom":
        from models.imaging.dicom.image import decode_dicom  # pydicom takes 0.3 s to import

        return decode_dicom(
            data, frame=frame, window=window, limits=limits, refuse_burned_in=refuse_burned_in
        )
    if source == "tiff":
        from models.imaging.formats.tiff import decode_tiff  # tifffile takes long to import

        return decode_tiff(data, frame=frame, window=window, limits=limits)
    choose_frame(frame, 1)
    return _STILL[source](data, window=window, limits=limits)
