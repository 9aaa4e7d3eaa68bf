"""Turns untrusted bytes into a model's input and a small picture of what was sent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.catalogue.cards import Preprocessing
from models.imaging.parse import parse_image
from models.imaging.pixels.decoded import Reading
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.window import RequestedWindow
from models.imaging.preprocess import preprocess

_DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedImage(Reading):
    """One frame as the model's input, and how it was made.

    Attributes:
        input: uint8, (3, size, size): the image that a certificate is about.
        picture: uint8, (h, w, 3): the frame scaled down for viewing; None unless asked for.
        height, width: The frame's size in its file.
    """

    input: NDArray[np.uint8]
    picture: NDArray[np.uint8] | None
    height: int
    width: int


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    frame: int | None = None,
    window: RequestedWindow = None,
    picture_side: int | None = None,
    limits: ImageLimits = _DEFAULT_LIMITS,
    refuse_burned_in: bool = False,
) -> PreparedImage:
    """Decodes, resizes and crops one frame, and adds a picture of at most `picture_side` if given.

    Raises:
        ImageError: see `parse_image`.
    """
    decoded = parse_image(
        data, frame=frame, window=window, limits=limits, refuse_burned_in=refuse_burned_in
    )
    return PreparedImage(
        input=preprocess(decoded.pixels, preprocessing),
        picture=None if picture_side is None else _shrink(decoded.pixels, picture_side),
        height=decoded.pixels.shape[0],
        width=decoded.pixels.shape[1],
        **decoded.reading,
    )


def _shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Scales the picture down so that no side exceeds `side`; smaller pictures stay as they are."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)  # (h, w, 3)
