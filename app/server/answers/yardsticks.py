"""Everyday changes of a certified image, each with its l2 length: what a radius is as large as.

All are computed on the certified 8-bit image, at the model's resolution, and are 8-bit again.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import Field

from app.server.answers.schemas import Schema
from worker.attack.grid import distance
from worker.contract.image import Image, image_sha256

_LEVELS = 255
_MARK = 5
_NOISE = 0.01  # of the range of a picture

Change = Callable[[Image], Image]
YardstickId = Literal[
    "jpeg-95",
    "jpeg-90",
    "jpeg-75",
    "dead-pixel",
    "one-level-brighter",
    "window-centre-up",
    "window-centre-down",
    "window-width-up",
    "window-width-down",
    "scanner-noise",
    "black-mark",
    "half-pixel-shift",
]


class Yardstick(Schema):
    """A change of the certified image, and how long it is."""

    id: YardstickId = Field(description="Names its picture: `yardsticks/{id}.png`.")
    title: str
    detail: str = Field(description="What exactly was changed.")
    l2: float = Field(description="Its l2 length, pixels in [0, 1], rounded up to six decimals.")
    changed_pixels: int = Field(description="How many pixels differ.")
    largest_step: int = Field(description="The largest difference in a channel, in grey levels.")


class Yardsticks(Schema):
    """The changes, in the order of their kinds.

    A certificate covers a change that is shorter than its radius. Of a longer one it says nothing.
    """

    yardsticks: tuple[Yardstick, ...]


def list_yardsticks(image: Image) -> Yardsticks:
    """Every change of an image, uint8 (3, H, W), with its length."""
    return Yardsticks(yardsticks=tuple(_measure(image, name) for name in get_args(YardstickId)))


def change_image(image: Image, name: YardstickId) -> Image:
    """The image under the change of that name in `CHANGES`."""
    return CHANGES[name][2](image)


def _measure(image: Image, name: YardstickId) -> Yardstick:
    title, detail, change = CHANGES[name]
    changed = change(image)
    steps = np.abs(image.astype(np.int64) - changed.astype(np.int64))
    return Yardstick(
        id=name,
        title=title,
        detail=detail,
        l2=float(distance(image, changed)),
        changed_pixels=int(steps.any(axis=0).sum()),
        largest_step=int(steps.max()),
    )


def _to_pixels(values: NDArray[np.floating[Any]]) -> Image:
    pixels: Image = np.clip(np.rint(values), 0, _LEVELS).astype(np.uint8)
    return pixels


def _encode_jpeg(quality: int) -> Change:
    def change(image: Image) -> Image:
        file = BytesIO()
        rows = np.ascontiguousarray(image.transpose(1, 2, 0))
        PillowImage.fromarray(rows).save(file, format="JPEG", quality=quality)
        return np.asarray(PillowImage.open(file).convert("RGB")).transpose(2, 0, 1)

    return change


def _blacken(side: int) -> Change:
    """A black square at the place where that is the longest change: any other is shorter."""

    def change(image: Image) -> Image:
        _, height, width = image.shape
        rows, columns = min(side, height), min(side, width)
        energy = np.pad(
            (image.astype(np.int64) ** 2).sum(axis=0).cumsum(0).cumsum(1), ((1, 0),) * 2
        )
        sums = (
            energy[rows:, columns:]
            - energy[:-rows, columns:]
            - energy[rows:, :-columns]
            + energy[:-rows, :-columns]
        )
        top, left = np.unravel_index(int(sums.argmax()), sums.shape)
        changed = image.copy()
        changed[:, top : top + rows, left : left + columns] = 0
        return changed

    return change


def _brighten(image: Image) -> Image:
    return _to_pixels(image.astype(np.float64) + 1)


def _window(*, centre: float = 0.0, width: float = 1.0) -> Change:
    """The window moved by a share of its width, or widened: what was black or white stays so."""

    def change(image: Image) -> Image:
        inside = (image > 0) & (image < _LEVELS)
        middle = _LEVELS / 2
        moved = (image - middle - centre * _LEVELS) / width + middle
        return np.where(inside, _to_pixels(moved), image)

    return change


def _sample_scanner_noise(image: Image) -> Image:
    """Gaussian noise of a fixed seed, an illustration: never a certificate's noise."""
    seed = int.from_bytes(f"scanner {image_sha256(image)}".encode(), "big")
    noise = np.random.default_rng(seed).normal(scale=_NOISE * _LEVELS, size=image.shape)
    return _to_pixels(image + noise)


def _shift(image: Image) -> Image:
    """By half a pixel to the right: the mean of each pixel and its left neighbour."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (1, 0)), mode="edge")
    return _to_pixels((padded[:, :, 1:] + padded[:, :, :-1]) / 2)


_OF_WINDOW = "of the window's width, on the grey values that are neither black nor white"
CHANGES: dict[YardstickId, tuple[str, str, Change]] = {
    "jpeg-95": ("JPEG, quality 95", "Saved once as JPEG and read again.", _encode_jpeg(95)),
    "jpeg-90": ("JPEG, quality 90", "Saved once as JPEG and read again.", _encode_jpeg(90)),
    "jpeg-75": ("JPEG, quality 75", "Saved once as JPEG and read again.", _encode_jpeg(75)),
    "dead-pixel": (
        "One dead pixel",
        "The pixel for which that is the longest change is black; any other is a shorter one.",
        _blacken(1),
    ),
    "one-level-brighter": (
        "One grey level brighter everywhere",
        "Every channel of every pixel by one of 255 grey levels; white stays white.",
        _brighten,
    ),
    "window-centre-up": ("Window centre 1 % higher", f"By 1 % {_OF_WINDOW}.", _window(centre=0.01)),
    "window-centre-down": (
        "Window centre 1 % lower",
        f"By 1 % {_OF_WINDOW}.",
        _window(centre=-0.01),
    ),
    "window-width-up": ("Window 1 % wider", f"By 1 % {_OF_WINDOW}.", _window(width=1.01)),
    "window-width-down": ("Window 1 % narrower", f"By 1 % {_OF_WINDOW}.", _window(width=0.99)),
    "scanner-noise": (
        "1 % scanner noise",
        "Gaussian noise of 1 % of the range of grey values in every channel, one example.",
        _sample_scanner_noise,
    ),
    "black-mark": (
        "A black mark, 5 × 5 pixels",
        "At the place where that is the longest change; anywhere else it is a shorter one.",
        _blacken(_MARK),
    ),
    "half-pixel-shift": (
        "Shifted by half a pixel",
        "To the right: each pixel is the mean of itself and its left neighbour.",
        _shift,
    ),
}
"""By id: what it is called, what exactly is changed, and the change itself."""
