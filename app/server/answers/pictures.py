"""Pictures for people: a prepared image as PNG, and what noise of a level looks like on it."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.Image import fromarray

from worker.contract.image import Image, image_sha256


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The same integers as a PNG file; `pixels` is (H, W, 3)."""
    file = BytesIO()
    fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def sample_illustration(image: Image, sigma: float) -> Image:
    """The image with Gaussian noise, rounded and cut to 0 .. 255; the same one each time.

    Args:
        image: uint8 (3, H, W).
        sigma: standard deviation of the noise on pixels in [0, 1].
    """
    seed = int.from_bytes(f"{image_sha256(image)} {sigma}".encode(), "big")
    noise = np.random.default_rng(seed).normal(scale=255.0 * sigma, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
