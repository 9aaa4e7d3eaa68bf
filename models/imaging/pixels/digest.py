"""The digest of a prepared image: it names the integers that a model sees, however they came."""

import hashlib

import numpy as np
import numpy.typing as npt


def digest_image(image: npt.NDArray[np.uint8]) -> str:
    """SHA-256 over shape and integers of an image, uint8 (3, H, W), in C order."""
    shape = "x".join(map(str, image.shape))
    return hashlib.sha256(f"uint8 {shape}\n".encode() + image.tobytes()).hexdigest()
