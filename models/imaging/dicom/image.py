"""Turns a DICOM image into 8-bit RGB, in the order of DICOM PS3.4 N.2.1 (the grey scale pipeline).

1. decode             one frame of the pixel data (`pixels`)
2. modality LUT       a lookup table or slope and intercept, C.11.1.1
3. VOI                the request's window, else the file's, else its VOI lookup table, else
                      percentiles; the result states which, C.11.2.1
4. MONOCHROME1        inverted, C.7.6.3.1.2
5. [0, 1] → 8 bit → three channels
"""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

from models.imaging.dicom.file import parse_dataset
from models.imaging.dicom.luts import LookupTable, palette_to_8_bit, parse_table
from models.imaging.dicom.pixels import PixelModule, decode_frame, read_pixel_module
from models.imaging.pixels.decoded import DecodedImage, Window
from models.imaging.pixels.errors import BurnedInText, ImageBroken
from models.imaging.pixels.frames import choose_frame
from models.imaging.pixels.grey_image import grey_image
from models.imaging.pixels.greys import Greys, Reals
from models.imaging.pixels.limits import ImageLimits
from models.imaging.pixels.window import (
    FUNCTIONS,
    PERCENTILES,
    GreyScale,
    RequestedWindow,
    full_scale,
    percentile_scale,
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
    dataset = parse_dataset(data, limits)
    module = read_pixel_module(dataset)
    index = choose_frame(frame, module.frames)
    burned_in = dataset.get("BurnedInAnnotation") == "YES"  # C.7.6.1.1
    if burned_in and refuse_burned_in:
        raise BurnedInText
    stored, notes = decode_frame(dataset, module, index, limits)  # (H, W) or (H, W, 3)
    if burned_in:
        notes = (_BURNED_IN, *notes)
    if module.is_colour or module.photometric == "PALETTE COLOR":
        notes += refuse_window_on_colour(window)
        to_rgb = _colours if module.is_colour else _palette_colours
        return DecodedImage(
            pixels=to_rgb(stored, dataset, module),
            source="dicom",
            frame=index,
            frames=module.frames,
            notes=notes,
        )
    greys = _modality(stored, dataset, module, index)
    scale = requested_scale(greys, window) or _file_scale(greys, dataset, module, index)
    if _shape_disagrees(dataset, module):
        notes += (_SHAPE_DISAGREES,)
    return grey_image(greys, scale, source="dicom", frame=index, frames=module.frames, notes=notes)


def _shape_disagrees(dataset: Dataset, module: PixelModule) -> bool:
    """C.11.6: INVERSE belongs to MONOCHROME1 and IDENTITY to MONOCHROME2."""
    shape = dataset.get("PresentationLUTShape")
    return bool(shape == ("IDENTITY" if module.photometric == "MONOCHROME1" else "INVERSE"))


def _modality(stored: NDArray[Any], dataset: Dataset, module: PixelModule, index: int) -> Greys:
    """Step 2: values in the modality's units, such as Hounsfield units."""
    inverted = module.photometric == "MONOCHROME1"
    if table := _table(dataset, "ModalityLUTSequence", dataset, module):
        return Greys(stored=table[stored], inverted=inverted)
    groups = _functional_group(dataset, "PixelValueTransformationSequence", index)
    slope, intercept = groups.get("RescaleSlope"), groups.get("RescaleIntercept")
    padding = _padding(dataset)
    if slope is None or intercept is None:
        return Greys(stored=stored, inverted=inverted, padding=padding)
    return Greys(
        stored=stored,
        slope=float(slope),
        intercept=float(intercept),
        inverted=inverted,
        padding=padding,
    )


def _padding(dataset: Dataset) -> tuple[float, float] | None:
    """C.7.5.1.1.2: the stored values that stand for pixels outside the picture."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int | float):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    limit = limit if isinstance(limit, int | float) else value
    return min(value, limit), max(value, limit)


def _file_scale(greys: Greys, dataset: Dataset, module: PixelModule, index: int) -> GreyScale:
    """Step 3 if the request leaves the choice to the file."""
    voi = _functional_group(dataset, "FrameVOILUTSequence", index)
    windows = list(
        zip(_numbers(voi.get("WindowCenter")), _numbers(voi.get("WindowWidth")), strict=False)
    )
    function = str(voi.get("VOILUTFunction") or "LINEAR")
    if windows and _is_usable(windows[0], function):
        return _file_window(windows, function)
    if table := _table(voi, "VOILUTSequence", dataset, module):
        return _voi_table(table)
    if not windows and _is_display_ready(greys, dataset, module):
        return full_scale(255)
    scale = percentile_scale(greys, PERCENTILES)
    if not windows:
        return scale
    note = "The file's own window cannot be used."
    return GreyScale(
        to_unit=scale.to_unit, window=scale.window, origin=scale.origin, notes=(note, *scale.notes)
    )


def _is_usable(window: Window, function: str) -> bool:
    """C.11.2.1.2.1: LINEAR takes a width of 1 or more, the other functions any width above 0."""
    centre, width = window
    if not (math.isfinite(centre) and math.isfinite(width) and function in FUNCTIONS):
        return False
    return width >= 1 if function == "LINEAR" else width > 0


def _file_window(windows: list[Window], function: str) -> GreyScale:
    centre, width = windows[0]
    notes = []
    if len(windows) > 1:
        notes.append(f"The file offers {len(windows)} windows; the first was used.")
    if function != "LINEAR":
        notes.append(f"The file's window is a {function} one.")
    return GreyScale(
        to_unit=partial(FUNCTIONS[function], centre=centre, width=width),
        window=windows[0],
        origin="file",
        notes=tuple(notes),
    )


def _voi_table(table: LookupTable) -> GreyScale:
    def to_unit(values: Reals) -> Reals:
        return table[np.rint(values)] / float(2**table.bits - 1)

    note = "The file's VOI lookup table was applied."
    return GreyScale(to_unit=to_unit, window=None, origin="file", notes=(note,))


def _is_display_ready(greys: Greys, dataset: Dataset, module: PixelModule) -> bool:
    """Whether values are 8 unsigned bits without units, as on a screen, so they need no window."""
    plain = (greys.slope, greys.intercept) == (1.0, 0.0) and "ModalityLUTSequence" not in dataset
    return plain and module.bits_stored == 8 and not module.signed and greys.stored.max() <= 255


def _numbers(value: Any) -> list[float]:
    """Returns the numbers of a DS element, which has none, one or several."""
    if value is None or value == "":
        return []
    return [float(value)] if isinstance(value, int | float | str) else [float(x) for x in value]


def _functional_group(dataset: Dataset, keyword: str, index: int) -> Dataset:
    """C.7.6.16: an enhanced object's macro for this frame, else for all, else the data set."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in [*per_frame[index : index + 1], *shared[:1]]:
        if macro := groups.get(keyword):
            found: Dataset = macro[0]
            return found
    return dataset


def _table(
    holder: Dataset, keyword: str, dataset: Dataset, module: PixelModule
) -> LookupTable | None:
    """Returns the first lookup table of a sequence, or None if there is none."""
    sequence = holder.get(keyword)
    if not sequence:
        return None
    item = sequence[0]
    return _parse_table(item.get("LUTDescriptor"), item.get("LUTData"), dataset, module)


def _parse_table(descriptor: Any, data: Any, dataset: Dataset, module: PixelModule) -> LookupTable:
    if descriptor is None or data is None:
        raise ImageBroken(
            "Expected a lookup table with descriptor and data, got one without. "
            "Convert the image to RGB or grey values."
        )
    big = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    return parse_table(descriptor, data, signed=module.signed, little_endian=not big)


def _palette_colours(
    stored: NDArray[Any], dataset: Dataset, module: PixelModule
) -> NDArray[np.uint8]:
    """Returns PALETTE COLOR pixels as RGB, (H, W, 3)."""
    tables = [
        _parse_table(
            dataset.get(f"{colour}PaletteColorLookupTableDescriptor"),
            dataset.get(f"{colour}PaletteColorLookupTableData"),
            dataset,
            module,
        )
        for colour in ("Red", "Green", "Blue")
    ]
    colours = palette_to_8_bit([table.entries for table in tables])  # (n, 3)
    pixels: NDArray[np.uint8] = colours[tables[0].index(stored)]  # (H, W, 3)
    return pixels


def _colours(stored: NDArray[Any], _dataset: Dataset, module: PixelModule) -> NDArray[np.uint8]:
    """Scales RGB samples of any depth to 0–255, (H, W, 3)."""
    if module.bits_stored == 8 and stored.dtype == np.uint8:
        return stored
    flat = Greys(stored=stored.reshape(len(stored), -1))  # (H, 3W)
    maximum = float(2**module.bits_stored - 1)
    return flat.to_8_bit(full_scale(maximum).to_unit).reshape(stored.shape)
