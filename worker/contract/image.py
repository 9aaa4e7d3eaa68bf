"""The prepared image: what is certified, and the digest that names it."""

import numpy as np
import numpy.typing as npt

from models.imaging.pixels.digest import digest_image

Image = npt.NDArray[np.uint8]


def image_sha256(image: Image) -> str:
    """The digest of a prepared image, by its integers and shape: uint8, (3, H, W), C order."""
    require_prepared(image)
    return digest_image(image)


def require_prepared(image: Image) -> None:
    """Raises ValueError unless the image is uint8 (3, H, W)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a uint8 image (3, H, W) is needed, got {image.dtype} {image.shape}")
