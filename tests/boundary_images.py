"""Images near the plane of the linear model, whose answers noise divides."""

from typing import Any

import numpy as np


def create_boundary_image(linear: Any, *, distance: float) -> np.ndarray:
    """An image, uint8 (3, 16, 16), that lies about so far from the plane, in l2 of [0, 1]."""
    rng = np.random.default_rng(9)
    images = (rng.integers(90, 170, (3, 16, 16)).astype(np.uint8) for _ in range(3000))
    return min(images, key=lambda image: abs(linear.distance(image) - distance))
