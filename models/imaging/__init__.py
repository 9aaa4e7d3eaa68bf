"""Turns untrusted image files into the model's 8-bit input; no torch.

Use a `Decoder`: it runs `prepare`, which is `parse_image` and `preprocess`, in a separate process
with limits on time and memory. An image that is refused raises an `ImageError` with a stable
`code`.
"""

from models.imaging.decoder.decoder import Decoder
from models.imaging.decoder.process import DecodingUnavailable
from models.imaging.parse import parse_image
from models.imaging.pixels.decoded import DecodedImage, Source, Window, WindowOrigin
from models.imaging.pixels.errors import (
    BurnedInText,
    DecoderCrashed,
    DecodingTimedOut,
    FrameOutOfRange,
    FrameRequired,
    ImageBroken,
    ImageEmpty,
    ImageError,
    ImageFormatUnsupported,
    ImageNotFinite,
    ImageTooLarge,
    ImageTooSmall,
    PixelsMissing,
    PixelsUnsupported,
    TransferSyntaxUnsupported,
    WindowInvalid,
)
from models.imaging.pixels.limits import DecodingBounds, ImageLimits
from models.imaging.pixels.window import RequestedWindow
from models.imaging.prepare import PreparedImage, prepare
from models.imaging.preprocess import preprocess

__all__ = [
    "BurnedInText",
    "DecodedImage",
    "Decoder",
    "DecoderCrashed",
    "DecodingBounds",
    "DecodingTimedOut",
    "DecodingUnavailable",
    "FrameOutOfRange",
    "FrameRequired",
    "ImageBroken",
    "ImageEmpty",
    "ImageError",
    "ImageFormatUnsupported",
    "ImageLimits",
    "ImageNotFinite",
    "ImageTooLarge",
    "ImageTooSmall",
    "PixelsMissing",
    "PixelsUnsupported",
    "PreparedImage",
    "RequestedWindow",
    "Source",
    "TransferSyntaxUnsupported",
    "Window",
    "WindowInvalid",
    "WindowOrigin",
    "parse_image",
    "prepare",
    "preprocess",
]
