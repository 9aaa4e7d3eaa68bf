"""The reasons for refusing an image; messages never repeat its content, tags or file name.

ImageError
├── ImageEmpty                 nothing was sent
├── ImageFormatUnsupported     the bytes are not a PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM file
├── ImageTooLarge              more bytes or pixels than the limits allow
├── ImageTooSmall              a side is shorter than the limits allow
├── ImageBroken                the decoder gave up
├── DecodingTimedOut           decoding took too long
├── DecoderCrashed             the decoder's process ended without an answer
├── ImageNotFinite             a value is NaN or infinite
├── PixelsMissing              a DICOM object without pixel data
├── PixelsUnsupported          pixels of a kind that cannot be decoded faithfully here
├── BurnedInText               the file declares burned-in text, and the policy refuses it
├── TransferSyntaxUnsupported  a DICOM encoding without a decoder here
├── FrameRequired              there are several frames, and none was chosen
├── FrameOutOfRange            the chosen frame does not exist
└── WindowInvalid              the requested window cannot be applied
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class ImageError(ValueError):
    """An image cannot be used; the text says what was expected, what came and what to do.

    `code` is stable: programs branch on it, people read the sentence.
    """

    code: ClassVar[str] = "image_invalid"

    @staticmethod
    def restore(code: str, text: str, members: Mapping[str, Any]) -> "ImageError":
        """Returns the error with this code, as another process described it.

        Raises:
            ValueError: no error has this code.
        """
        found = next((cls for cls in list_errors() if cls.code == code), None)
        if found is None:
            raise ValueError("expected the code of a known error")
        error = found.__new__(found, text)
        vars(error).update(members)
        return error


class ImageEmpty(ImageError):
    """Nothing was sent."""

    code = "image_empty"

    def __init__(self) -> None:
        super().__init__(
            "Expected an image file, got zero bytes. Check that the upload was complete."
        )


class ImageFormatUnsupported(ImageError):
    """The bytes are no file of an accepted format."""

    code = "image_format_unsupported"


class ImageTooLarge(ImageError):
    """The image asks for more memory than the limits allow."""

    code = "image_too_large"


class ImageTooSmall(ImageError):
    """A side is shorter than the limits allow."""

    code = "image_too_small"


class ImageBroken(ImageError):
    """The file cannot be decoded."""

    code = "image_broken"


class DecodingTimedOut(ImageError):
    """Decoding took longer than the service allows."""

    code = "decoding_timed_out"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"Expected an image that is decoded within {timeout_s:g} s, got one that takes longer. "
            "Send a single frame, a smaller picture or a simpler format such as PNG."
        )


class DecoderCrashed(ImageError):
    """The decoder of this format ended on the file; nothing else was touched."""

    code = "decoder_crashed"

    def __init__(self) -> None:
        super().__init__(
            "Expected a sound image, got one that its decoder crashed on. Export it again, or "
            "convert it to PNG or to uncompressed DICOM."
        )


class ImageNotFinite(ImageError):
    """A value of the image is NaN or infinite."""

    code = "image_not_finite"

    def __init__(self) -> None:
        super().__init__(
            "Expected finite pixel values, got NaN, infinity or a value that overflows. "
            "Replace them before sending the image."
        )


class PixelsMissing(ImageError):
    """The DICOM object carries no pixel data."""

    code = "pixels_missing"

    def __init__(self) -> None:
        super().__init__(
            "Expected a DICOM image, got an object without pixel data, such as a report, a plan or "
            "a structure set. Send the image that it refers to."
        )


class PixelsUnsupported(ImageError):
    """Decoding these pixels here would change what they show."""

    code = "pixels_unsupported"


class BurnedInText(ImageError):
    """The DICOM file says that text is burned into the picture, and none such is taken here."""

    code = "burned_in_text"

    def __init__(self) -> None:
        super().__init__(
            "Expected a picture without text in it, got a file that says that text is burned in "
            "(BurnedInAnnotation is YES). Send a picture without it."
        )


class TransferSyntaxUnsupported(ImageError):
    """The DICOM transfer syntax has no decoder here; `uid` is empty where the file names none."""

    code = "transfer_syntax_unsupported"

    def __init__(self, uid: str, *, lacking: str | None = None) -> None:
        self.uid = uid if re.fullmatch(r"[0-9.]{1,64}", uid) else ""
        came = f"got {self.uid}" if self.uid else "but the file names none that can be read"
        if lacking is not None:  # the package that would decode it
            came += f", whose decoder {lacking} is not installed with this Python"
        super().__init__(
            f"Expected a supported DICOM transfer syntax, {came}. Convert the file to Explicit VR "
            "Little Endian (1.2.840.10008.1.2.1)."
        )


class FrameRequired(ImageError):
    """The file holds `frames` frames, and the request names none."""

    code = "frame_required"

    def __init__(self, frames: int) -> None:
        super().__init__(
            f"Expected one frame, got a file with {frames} frames. "
            f"Choose one with frame=0 to frame={frames - 1}."
        )
        self.frames = frames


class FrameOutOfRange(ImageError):
    """The file holds `frames` frames, and the request names another."""

    code = "frame_out_of_range"

    def __init__(self, frame: int, frames: int) -> None:
        super().__init__(
            f"Expected a frame from 0 to {frames - 1}, got frame={frame}. "
            "Frames are counted from 0."
        )
        self.frames = frames


class WindowInvalid(ImageError):
    """The requested window cannot be applied."""

    code = "window_invalid"


def list_errors(cls: type[ImageError] = ImageError) -> Iterator[type[ImageError]]:
    """Yields `ImageError` and all its subclasses."""
    yield cls
    for child in cls.__subclasses__():
        yield from list_errors(child)
