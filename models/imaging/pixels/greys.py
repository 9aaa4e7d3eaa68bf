"""Grey values as a file stores them, and their conversion to 8 bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.pixels.errors import ImageNotFinite

_BLOCK = 2**20  # pixels converted to float64 at a time

Reals = NDArray[np.float64]
ToUnit = Callable[[Reals], Reals]
"""A VOI transformation: values in the modality's units to [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Greys:
    """One grey frame: the stored values and the line that converts them to the modality's units.

    Attributes:
        stored: Integers or floats, (H, W).
        slope, intercept: value = slope · stored + intercept (DICOM PS3.3 C.11.1.1.2).
        inverted: Whether the smallest value means white (MONOCHROME1, WhiteIsZero).
        padding: Range of stored values, ends included, that stand for "no picture here".

    Raises:
        ImageNotFinite: `stored`, `slope` or `intercept` holds NaN or infinity.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False
    padding: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        line = np.isfinite([self.slope, self.intercept]).all()
        floats = self.stored.dtype.kind == "f"
        if not line or (floats and not np.isfinite(self.stored).all()):
            raise ImageNotFinite

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Returns two percentiles of the values without padding, in the modality's units."""
        stored = self._without_padding()
        ends = np.percentile(stored, [low, high]) * self.slope + self.intercept
        return float(ends.min()), float(ends.max())

    def _without_padding(self) -> NDArray[Any]:
        if self.padding is None:
            return self.stored
        first, last = self.padding
        kept = self.stored[(self.stored < first) | (self.stored > last)]
        return kept if kept.size else self.stored

    def to_8_bit(self, to_unit: ToUnit) -> NDArray[np.uint8]:
        """Applies `to_unit`, inverts if needed and scales to 0–255; uint8, (H, W)."""
        pixels = np.empty(self.stored.shape, np.uint8)  # (H, W)
        rows = max(1, _BLOCK // self.stored.shape[1])
        for start in range(0, len(pixels), rows):
            block = slice(start, start + rows)
            pixels[block] = self._block_to_8_bit(self.stored[block], to_unit)
        return pixels

    def _block_to_8_bit(self, stored: NDArray[Any], to_unit: ToUnit) -> NDArray[np.uint8]:
        with np.errstate(over="ignore", invalid="ignore"):
            unit = to_unit(stored.astype(np.float64) * self.slope + self.intercept)  # in [0, 1]
        if not np.isfinite(unit).all():
            raise ImageNotFinite
        return unit_to_8_bit(1.0 - unit if self.inverted else unit)


def unit_to_8_bit(unit: Reals) -> NDArray[np.uint8]:
    """Maps [0, 1] to 0–255, rounded to nearest, with halves rounded up."""
    return np.floor(unit * 255.0 + 0.5).astype(np.uint8)
