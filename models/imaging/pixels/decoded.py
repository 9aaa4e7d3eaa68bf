"""The result of decoding."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Source = Literal["png", "jpeg", "jpeg2000", "tiff", "webp", "dicom"]
WindowOrigin = Literal["request", "file", "percentile", "none"]
Window = tuple[float, float]
"""Centre and width, in the units of DICOM PS3.3 C.11.2.1.2.1 (LINEAR)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """How a picture was made of a file.

    Attributes:
        source: The file's format, detected from its content.
        window: The (centre, width) that was applied, or None. If `window_origin` is `request` or
            `percentile`, the function is LINEAR, so asking for the same window again gives the
            same pixels. If it is `file`, the function is the file's.
        window_origin: Where the grey scale came from. `none`: the pixels were already 8-bit or in
            colour. `file` with `window` None: the file's VOI lookup table.
        frame: Index of the frame, from 0.
        frames: Number of frames in the file.
        notes: Sentences that every reader of the result must know.
    """

    source: Source
    window: Window | None = None
    window_origin: WindowOrigin = "none"
    frame: int = 0
    frames: int = 1
    notes: tuple[str, ...] = ()

    @property
    def reading(self) -> dict[str, Any]:
        """These fields, by name."""
        return {field.name: getattr(self, field.name) for field in fields(Reading)}


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImage(Reading):
    """One picture at its original size, as 8-bit RGB, and how it was made.

    Attributes:
        pixels: uint8, (H, W, 3), C-contiguous, read-only; a copy of the array that was given.
    """

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        pixels = np.array(self.pixels, order="C", copy=True)  # (H, W, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"Expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}.")
        if not 0 <= self.frame < self.frames:
            raise ValueError(f"Expected a frame below {self.frames}, got {self.frame}.")
        pixels.setflags(write=False)
        object.__setattr__(self, "pixels", pixels)
