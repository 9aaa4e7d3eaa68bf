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
    """An image cannot be used.

    Attributes:
        code: stable, for programs to branch on; the error's own sentence is for people.
        summary: what every error of this kind has in common, for the interface's description.
    """

    code: ClassVar[str] = "image_invalid"
    summary: ClassVar[str] = (
        "An image cannot be used; the text says what was expected, what came and what to do.\n\n"
        "`code` is stable: programs branch on it, people read the sentence."
    )

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
    code = "image_empty"
    summary = "Nothing was sent."

    def __init__(self) -> None:
        super().__init__(
            "Expected an image file, got zero bytes. Check that the upload was complete."
        )


class ImageFormatUnsupported(ImageError):
    code = "image_format_unsupported"
    summary = "The bytes are no file of an accepted format."


class ImageTooLarge(ImageError):
    code = "image_too_large"
    summary = "The image asks for more memory than the limits allow."


class ImageTooSmall(ImageError):
    code = "image_too_small"
    summary = "A side is shorter than the limits allow."


class ImageBroken(ImageError):
    code = "image_broken"
    summary = "The file cannot be decoded."


class DecodingTimedOut(ImageError):
    code = "decoding_timed_out"
    summary = "Decoding took longer than the service allows."

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"Expected an image that is decoded within {timeout_s:g} s of processor time, got one "
            "that takes longer. "
            "Send a single frame, a smaller picture or a simpler format such as PNG."
        )


class DecoderCrashed(ImageError):
    code = "decoder_crashed"
    summary = "The decoder of this format ended on the file; nothing else was touched."

    def __init__(self) -> None:
        super().__init__(
            "Expected a sound image, got one that its decoder crashed on. Export it again, or "
            "convert it to PNG or to uncompressed DICOM."
        )


class ImageNotFinite(ImageError):
    code = "image_not_finite"
    summary = "A value of the image is NaN or infinite."

    def __init__(self) -> None:
        super().__init__(
            "Expected finite pixel values, got NaN, infinity or a value that overflows. "
            "Replace them before sending the image."
        )


class PixelsMissing(ImageError):
    code = "pixels_missing"
    summary = "The DICOM object carries no pixel data."

    def __init__(self, *, perhaps_cut: bool = False) -> None:
        if perhaps_cut:  # it describes pixels
            super().__init__(
                "Expected a DICOM image, got an object that describes pixels but has none. It may "
                "have been cut before them: check that the upload was complete."
            )
            return
        super().__init__(
            "Expected a DICOM image, got an object without pixel data, such as a report, a plan or "
            "a structure set. Send the image that it refers to."
        )


class PixelsUnsupported(ImageError):
    code = "pixels_unsupported"
    summary = "Decoding these pixels here would change what they show."


class BurnedInText(ImageError):
    code = "burned_in_text"
    summary = (
        "The DICOM file says that text is burned into the picture, and none such is taken here."
    )

    def __init__(self) -> None:
        super().__init__(
            "Expected a picture without text in it, got a file that says that text is burned in "
            "(BurnedInAnnotation is YES). Send a picture without it."
        )


class TransferSyntaxUnsupported(ImageError):
    code = "transfer_syntax_unsupported"
    summary = (
        "The DICOM transfer syntax has no decoder here; `uid` is empty where the file names none."
    )

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
    code = "frame_required"
    summary = "The file holds `frames` frames, and the request names none."

    def __init__(self, frames: int) -> None:
        super().__init__(
            f"Expected one frame, got a file with {frames} frames. "
            f"Choose one with frame=0 to frame={frames - 1}."
        )
        self.frames = frames


class FrameOutOfRange(ImageError):
    code = "frame_out_of_range"
    summary = "The file holds `frames` frames, and the request names another."

    def __init__(self, frame: int, frames: int) -> None:
        super().__init__(
            f"Expected {'no frame or' if frames == 1 else 'a frame from 0 to'} {frames - 1}, got "
            f"frame={frame}. Frames are counted from 0."
        )
        self.frames = frames


class WindowInvalid(ImageError):
    code = "window_invalid"
    summary = "The requested window cannot be applied."


def list_errors(cls: type[ImageError] = ImageError) -> Iterator[type[ImageError]]:
    """Yields `ImageError` and all its subclasses."""
    yield cls
    for child in cls.__subclasses__():
        yield from list_errors(child)
