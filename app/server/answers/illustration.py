"""An illustration of noise on an image, for people to look at and for nothing else.

It resembles no certified sample: workers draw those from a secret key and do not clip them to the
range of a picture.
"""

import numpy as np

from worker.contract.image import Image, image_sha256


def sample_illustration(image: Image, sigma: float) -> Image:
    """The image with Gaussian noise, rounded and clipped to 0 .. 255; deterministic.

    Args:
        image: uint8 (3, H, W).
        sigma: standard deviation of the noise on pixels in [0, 1].
    """
    seed = int.from_bytes(f"{image_sha256(image)} {sigma}".encode(), "big")
    noise = np.random.default_rng(seed).normal(scale=255.0 * sigma, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
