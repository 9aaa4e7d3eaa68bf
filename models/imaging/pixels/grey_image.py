"""Turns a grey frame into the picture that a model sees."""

import numpy as np

from models.imaging.pixels.decoded import DecodedImage, Source
from models.imaging.pixels.greys import Greys
from models.imaging.pixels.window import GreyScale


def grey_image(
    greys: Greys,
    scale: GreyScale,
    *,
    source: Source,
    frame: int,
    frames: int,
    notes: tuple[str, ...],
) -> DecodedImage:
    """Returns a grey frame, repeated in all three channels."""
    pixels = greys.to_8_bit(scale.to_unit)  # (H, W)
    return DecodedImage(
        pixels=np.repeat(pixels[:, :, None], 3, axis=2),  # (H, W, 3)
        source=source,
        window=scale.window,
        window_origin=scale.origin,
        frame=frame,
        frames=frames,
        notes=notes + scale.notes,
    )
