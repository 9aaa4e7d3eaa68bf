"""Untrusted image files to the model's 8-bit input; no torch.

`parse_image` decodes, `preprocess` resizes and crops. What an image was refused for is an
`ImageError` with a stable `code`.
"""

from models.imaging.decoded import DecodedImage, Source, Window, WindowOrigin
from models.imaging.errors import (
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
from models.imaging.limits import ImageLimits
from models.imaging.parse import parse_image
from models.imaging.prepare import PreparedImage, prepare
from models.imaging.preprocess import preprocess
from models.imaging.window import RequestedWindow

__all__ = [
    "DecodedImage",
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
