"""Limits on how much of an untrusted image is decoded."""

import math
from dataclasses import dataclass

from models.imaging.pixels.errors import ImageTooLarge, ImageTooSmall

_WALL_FACTOR = 12


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Limits that are checked on headers, before memory is allocated.

    Attributes:
        max_bytes: Length of the file, in bytes.
        max_pixels: Width × height of one frame.
        max_decoded_bytes: Size of a decoded frame and of an inflated DICOM data set, in bytes.
        min_side: Smallest allowed width or height, in pixels.
        max_aspect: Largest ratio of the longer to the shorter side. The shorter side is resized to
            the model's size, and the longer side with it, before the middle is cut out.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_decoded_bytes: int = 256 * 2**20
    min_side: int = 8
    max_aspect: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"Expected {name} of at least 1, got {value}.")

    def check_file(self, size_bytes: int) -> None:
        """Raises ImageTooLarge if the file itself is too long."""
        if size_bytes > self.max_bytes:
            raise ImageTooLarge(
                f"Expected at most {self.max_bytes} bytes, got {size_bytes}. "
                "Send a smaller file or a single frame."
            )

    def check_frame(self, *, width: int, height: int, bytes_per_pixel: int) -> None:
        """Raises ImageTooSmall or ImageTooLarge if a frame of this size is not allowed."""
        if min(width, height) < self.min_side:
            raise ImageTooSmall(
                f"Expected sides of at least {self.min_side} pixels, got {width} × {height}. "
                "Send the image at its original size."
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise ImageTooLarge(
                f"Expected one side at most {self.max_aspect} times the other, got "
                f"{width} × {height}. Send a region of it."
            )
        if width * height > self.max_pixels:
            raise ImageTooLarge(
                f"Expected at most {self.max_pixels} pixels, got {width} × {height}. "
                "Scale the image down or send a region of it."
            )
        self.check_decoded(width * height * bytes_per_pixel)

    def check_decoded(self, size_bytes: int) -> None:
        """Raises ImageTooLarge if decoding would take more than `max_decoded_bytes`."""
        if size_bytes > self.max_decoded_bytes:
            raise ImageTooLarge(
                f"Expected at most {self.max_decoded_bytes} bytes after decoding, got more. "
                "Scale the image down or send a region of it."
            )


@dataclass(frozen=True, kw_only=True)
class DecodingBounds:
    """Limits for the process that decodes one image; the kernel ends a process that exceeds them.

    Attributes:
        timeout_s: Seconds of processor time until its answer, so that other work does not count.
        memory_bytes: Its address space, including about 170 MB for the decoders.
    """

    timeout_s: float = 5.0
    memory_bytes: int = 10**9

    @property
    def wall_s(self) -> float:
        """Seconds on the clock until its answer; only a machine that is too busy needs as many."""
        return _WALL_FACTOR * self.timeout_s

    def __post_init__(self) -> None:
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(f"Expected a finite timeout_s above 0, got {self.timeout_s}.")
        if self.memory_bytes < 2**28:
            raise ValueError(f"Expected memory_bytes of at least 2**28, got {self.memory_bytes}.")
