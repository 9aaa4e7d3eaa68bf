"""What noise of a level looks like on an image. A picture for people, and nothing else.

No certified sample looks like this one: those are drawn by workers from a secret key, and are not
cut to the range of a picture.
"""

import numpy as np

from worker.contract.image import Image, image_sha256


def sample_illustration(image: Image, sigma: float) -> Image:
    """The image with Gaussian noise, rounded and cut to 0 .. 255; the same one each time.

    Args:
        image: uint8 (3, H, W).
        sigma: standard deviation of the noise on pixels in [0, 1].
    """
    seed = int.from_bytes(f"{image_sha256(image)} {sigma}".encode(), "big")
    noise = np.random.default_rng(seed).normal(scale=255.0 * sigma, size=image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
