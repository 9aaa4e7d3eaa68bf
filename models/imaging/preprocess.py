"""Turns a decoded picture into the model's 8-bit input, the image that a certificate is about."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.catalogue.cards import Preprocessing

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def preprocess(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Returns the model's input, equal to the reference transform's before it becomes floats.

    The reference is open_clip's evaluation transform for `shortest` and `squash` in colour, and
    MedCLIP's feature extractor (of transformers 4.24) for `pad` in grey.

    Args:
        pixels: uint8, (H, W, 3).
        preprocessing: The card's size, resize mode and interpolation; mean and std are ignored.

    Returns:
        uint8, (3, size, size), C-contiguous.

    Raises:
        ValueError: `pixels` has another type or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"Expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}.")
    image = Image.fromarray(pixels)
    if preprocessing.grey:
        image = image.convert("L")
    if preprocessing.resize == "pad":
        image = _pad(image, preprocessing.size)
    width, height = _resized(image.width, image.height, preprocessing)
    resized = image.resize((width, height), _FILTERS[preprocessing.interpolation])
    colours = np.asarray(resized.convert("RGB"))  # repeats the one channel of a grey image
    cropped = _crop_centre(colours, preprocessing.size)  # (size, size, 3)
    return np.ascontiguousarray(cropped.transpose(2, 0, 1))  # (3, size, size)


def _resized(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Returns width and height after resizing; the longer side is truncated, as in torchvision."""
    size = preprocessing.size
    if preprocessing.resize in ("squash", "pad"):
        return size, size
    longer = int(size * max(width, height) / min(width, height))
    return (size, longer) if width <= height else (longer, size)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Centres the image on a black square, whose side is never smaller than `size`."""
    side = max(size, image.width, image.height)
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _crop_centre(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Returns the middle of the image; half pixels are rounded to even, as in torchvision."""
    top = round((pixels.shape[0] - size) / 2)
    left = round((pixels.shape[1] - size) / 2)
    return pixels[top : top + size, left : left + size]
