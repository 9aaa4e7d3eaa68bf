"""8-bit images near an image, and how far they are. Distances are in levels of 1/255."""

from decimal import ROUND_CEILING, Context, Decimal, localcontext

import numpy as np
import numpy.typing as npt

from worker.contract.image import Image

Direction = npt.NDArray[np.float64]

_HALVINGS = 40
_SPREAD = 0.6180339887498949  # multiples of it spread evenly, modulo 1
_PLACES = Decimal("0.000001")


def squared_levels(first: Image, second: Image) -> int:
    """The squared l2 distance of two images, in squared levels: exact."""
    difference = first.astype(np.int64) - second.astype(np.int64)
    return int((difference**2).sum())


def distance(first: Image, second: Image) -> Decimal:
    """The l2 distance in the units of certificates, pixels in [0, 1]; rounded up."""
    with localcontext(Context(prec=30, rounding=ROUND_CEILING)):
        return (Decimal(squared_levels(first, second)).sqrt() / 255).quantize(_PLACES)


def lies_within(first: Image, second: Image, radius: Decimal) -> bool:
    """Whether the l2 distance is at most `radius`, in exact arithmetic."""
    with localcontext(Context(prec=60)):
        return Decimal(squared_levels(first, second)) <= (255 * radius) ** 2


def move(image: Image, direction: Direction, levels: float) -> Image:
    """The 8-bit image in a direction at about an l2 distance in levels, never beyond it.

    Rounding would undo a change that is spread over many pixels. The direction is therefore scaled
    until the *rounded* change is as long as asked. Of all whole-numbered changes of its length it
    is the one with the largest product with the direction: round(d / λ) maximises d·z - λ|z|²/2.
    """
    reach = levels**2
    base = image.astype(np.float64)

    def at(scale: float) -> Image:
        return np.clip(np.rint(base + scale * direction), 0, 255).astype(np.uint8)

    low, high = 0.0, 512.0 / max(float(np.abs(direction).max()), 1e-12)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if squared_levels(at(middle), image) <= reach else (low, middle)
    return _fill(image, at(low), at(high), levels)


def _fill(image: Image, near: Image, far: Image, levels: float) -> Image:
    """`near` with as many of the steps to `far` as the length allows, spread over the image.

    Where many pixels have one slope, they round at one scale: all or none would be too coarse.
    """
    steps = np.flatnonzero(near != far)
    order = steps[np.argsort(np.arange(len(steps)) * _SPREAD % 1)]
    base, low, high = (one.reshape(-1).astype(np.int64) for one in (image, near, far))
    more = (high[order] - base[order]) ** 2 - (low[order] - base[order]) ** 2
    taken = order[np.cumsum(more) <= levels**2 - squared_levels(near, image)]
    low[taken] = high[taken]
    return low.reshape(image.shape).astype(np.uint8)
