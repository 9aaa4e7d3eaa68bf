"""Turns a DICOM image into 8-bit RGB, in the order of DICOM PS3.4 N.2.1 (the grey scale pipeline).

1. decode             one frame of the pixel data (`frame`)
2. modality LUT       a lookup table or slope and intercept, C.11.1.1 (`grey_scale`)
3. VOI                the request's window, else the file's, else its VOI lookup table, else
                      percentiles; the result states which, C.11.2.1 (`grey_scale`)
4. MONOCHROME1        inverted, C.7.6.3.1.2
5. [0, 1] → 8 bit → three channels
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.imaging.dicom.dataset import DataSet
from models.imaging.dicom.file import parse_dataset
from models.imaging.dicom.frame import decode_frame
from models.imaging.dicom.grey_scale import choose_file_scale, read_greys
from models.imaging.dicom.palettes import apply_palette
from models.imaging.dicom.pixels import PixelModule, read_pixel_module
from models.imaging.pixels.decoded import DecodedImage
from models.imaging.pixels.errors import BurnedInText
from models.imaging.pixels.frames import choose_frame
from models.imaging.pixels.grey_image import grey_image
from models.imaging.pixels.greys import Greys
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.notes import PROFILE_IGNORED
from models.imaging.pixels.window import (
    RequestedWindow,
    full_scale,
    refuse_window_on_colour,
    requested_scale,
)

_BURNED_IN = "The file says that text is burned into the picture; it was not removed."
_SHAPE_DISAGREES = (
    "PresentationLUTShape disagrees with PhotometricInterpretation, and the latter decided."
)


def decode_dicom(
    data: bytes,
    *,
    frame: int | None,
    window: RequestedWindow,
    limits: ImageLimits,
    refuse_burned_in: bool,
) -> DecodedImage:
    """Returns one frame of a DICOM Part 10 file.

    Raises:
        ImageError: see `models.imaging.pixels.errors`.
    """
    dataset, syntax = parse_dataset(data, limits)
    module = read_pixel_module(dataset)
    index = choose_frame(frame, module.frames)
    burned_in = dataset.get_code("BurnedInAnnotation") == "YES"  # C.7.6.1.1
    if burned_in and refuse_burned_in:
        raise BurnedInText
    stored, notes = decode_frame(dataset, syntax, module, index, limits)  # (H, W) or (H, W, 3)
    if burned_in:
        notes = (_BURNED_IN, *notes)
    if module.is_colour or module.photometric == "PALETTE COLOR":
        notes += refuse_window_on_colour(window)
        pixels, more = _show_colours(stored, dataset, module)
        return DecodedImage(
            pixels=pixels,
            source="dicom",
            frame=index,
            frames=module.frames,
            notes=_join(notes, dataset, more),
        )
    greys, reach = read_greys(stored, dataset, module, index)
    scale = requested_scale(greys, window) or choose_file_scale(
        greys, dataset, module, index, reach=reach
    )
    if _shape_disagrees(dataset, module):
        notes += (_SHAPE_DISAGREES,)
    return grey_image(
        greys,
        scale,
        source="dicom",
        frame=index,
        frames=module.frames,
        notes=_join(notes, dataset),
    )


def _join(notes: tuple[str, ...], dataset: DataSet, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Returns all notes, each once."""
    return tuple(dict.fromkeys((*notes, *dataset.notes, *more)))


def _shape_disagrees(dataset: DataSet, module: PixelModule) -> bool:
    """C.11.6: INVERSE belongs to MONOCHROME1 and IDENTITY to MONOCHROME2."""
    shape = dataset.get_code("PresentationLUTShape")
    return shape == ("IDENTITY" if module.photometric == "MONOCHROME1" else "INVERSE")


def _show_colours(
    stored: NDArray[Any], dataset: DataSet, module: PixelModule
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Returns colour pixels as 8-bit RGB, (H, W, 3), and notes on what was decided."""
    profile = (PROFILE_IGNORED,) if dataset.get_bytes("ICCProfile") else ()
    if module.is_colour:
        return _scale_colours(stored, module), profile
    pixels, notes = apply_palette(stored, dataset, reach=module.reach)
    return pixels, notes + profile


def _scale_colours(stored: NDArray[Any], module: PixelModule) -> NDArray[np.uint8]:
    """Scales RGB samples of any depth to 0–255, (H, W, 3)."""
    if module.bits_stored == 8 and stored.dtype == np.uint8:
        return stored
    flat = Greys(stored=stored.reshape(len(stored), -1))  # (H, 3W)
    maximum = float(2**module.bits_stored - 1)
    return flat.to_8_bit(full_scale(maximum).to_unit).reshape(stored.shape)
