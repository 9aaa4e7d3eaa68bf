"""Which decoder takes a file."""

from dataclasses import replace

from models.imaging._guard import guarded
from models.imaging.decoded import DecodedImage, Source
from models.imaging.errors import ImageEmpty, ImageFormatUnsupported
from models.imaging.limits import ImageLimits
from models.imaging.pillow_formats import decode_jpeg, decode_png, decode_tiff
from models.imaging.window import RequestedWindow, check_window

_DEFAULT_LIMITS = ImageLimits()
_DICOM_UID_ROOT = b"1.2.840.10008."
_SIGNATURES: tuple[tuple[bytes, Source], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
)


def parse_image(
    data: bytes,
    *,
    frame: int | None = None,
    window: RequestedWindow = None,
    limits: ImageLimits = _DEFAULT_LIMITS,
) -> DecodedImage:
    """Decodes one frame of a PNG, JPEG, TIFF or DICOM file to 8-bit RGB, or says why not.

    The format is told by the content. Whatever the bytes, nothing but `ImageError` is raised, no
    warning and no log line leaves, and nothing of the file but its pixels is kept. But a file that
    is not trusted goes to a `Decoder`: neither time nor memory is bounded here, and a decoder that
    crashes ends this process. Calls from several threads take turns.

    Args:
        data: The whole file.
        frame: Which frame, from 0; needed where there are several, ignored where there is one.
        window: (centre, width) in the image's own units, with a width of at least 1, as DICOM's
            LINEAR function reads them; "auto" for a window between the 0.5 and 99.5 percentiles.
            None: DICOM files use their own first window (else their VOI lookup table, else the
            percentiles), other deep grey images their full range of values.
        limits: Checked before memory is taken.

    Raises:
        ImageError: see `models.imaging.errors`.
    """
    check_window(window)
    source = _detect(data, limits)
    with guarded() as warned:
        if source == "dicom":
            from models.imaging.dicom import decode_dicom  # pydicom takes 0.3 s to import

            decoded = decode_dicom(data, frame=frame, window=window, limits=limits)
        elif source == "tiff":
            decoded = decode_tiff(data, frame=frame, window=window, limits=limits)
        else:
            decode = decode_png if source == "png" else decode_jpeg
            decoded = decode(data, window=window, limits=limits)
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
    if _DICOM_UID_ROOT in data[:4096]:
        raise ImageFormatUnsupported(
            "Expected a DICOM file with preamble and file meta information, got what seems to be "
            "a bare data set. Store it as a DICOM Part 10 file that names its transfer syntax."
        )
    raise ImageFormatUnsupported(
        "Expected a PNG, JPEG, TIFF or DICOM file, got something else (the content decides, not "
        "the name). Convert the image."
    )
