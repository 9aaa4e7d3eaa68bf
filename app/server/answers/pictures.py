"""Pictures for people: a prepared image as PNG, and what noise of a level looks like on it."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import fromarray

from worker.contract.image import Image, image_sha256

PNG: dict[str, Any] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
"""The content of an answer that is a picture, as OpenAPI describes it."""


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes pixels (H, W, 3) as PNG, unchanged."""
    file = BytesIO()
    fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def show_difference(image: Image, changed: Image) -> tuple[Image, int]:
    """What was changed, drawn around middle grey, and how often it is enlarged.

    The factor is the largest power of two up to 64 with which nothing is cut off. It is 1 where a
    step exceeds 127 levels, which may be cut off.
    """
    difference = changed.astype(np.int16) - image.astype(np.int16)
    largest = max(1, int(np.abs(difference).max()))
    times = min(64, 1 << max(0, (127 // largest).bit_length() - 1))
    return np.clip(128 + times * difference, 0, 255).astype(np.uint8), times


def sample_illustration(image: Image, sigma: float) -> Image:
    """The image with Gaussian noise, rounded and clipped to 0 .. 255; deterministic.

    Args:
        image: uint8 (3, H, W).
        sigma: standard deviation of the noise on pixels in [0, 1].
    """
    seed = int.from_bytes(f"{image_sha256(image)} {sigma}".encode(), "big")
    noise = np.random.default_rng(seed).normal(scale=255.0 * sigma, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
