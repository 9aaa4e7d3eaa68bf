"""The grey scale that a DICOM file asks for: modality LUT and VOI (PS3.3 C.11.1 and C.11.2)."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.tag import Tag

from models.imaging.dicom.dataset import DataSet, unreadable
from models.imaging.dicom.luts import Interval, LookupTable, find_table, find_true_bits
from models.imaging.dicom.pixels import PixelModule
from models.imaging.pixels.decoded import Window
from models.imaging.pixels.greys import Greys, Reals
from models.imaging.pixels.window import (
    FUNCTIONS,
    PERCENTILES,
    GreyScale,
    full_scale,
    percentile_scale,
)

_TABLE = (Tag("LUTDescriptor"), Tag("LUTData"))
_TRANSFORMATION = (Tag("RescaleSlope"), Tag("RescaleIntercept"))
_VOI = tuple(
    Tag(name) for name in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
)
_MACROS = {
    "PixelValueTransformationSequence": _TRANSFORMATION,
    "FrameVOILUTSequence": _VOI,
}
_UNUSABLE = "The file's own window cannot be used."


def read_greys(
    stored: NDArray[Any], dataset: DataSet, module: PixelModule, index: int
) -> tuple[Greys, Interval]:
    """Returns values in the modality's units, such as Hounsfield units (C.11.1.1).

    The second value is the smallest and the largest value that can occur in these units.
    """
    inverted = module.photometric == "MONOCHROME1"
    if table := _find_in_sequence(dataset, "ModalityLUTSequence", module.reach):
        dataset.notes += table.notes
        return Greys(stored=table[stored], inverted=inverted), (0.0, 2.0**16 - 1)
    slope, intercept = _read_line(dataset, index)
    greys = Greys(
        stored=stored,
        slope=slope,
        intercept=intercept,
        inverted=inverted,
        padding=_read_padding(dataset, module),
    )
    floats = stored.dtype.kind == "f"
    ends = (float(stored.min()), float(stored.max())) if floats else module.reach
    low, high = sorted(end * slope + intercept for end in ends)
    return greys, (low, high)


def _read_line(dataset: DataSet, index: int) -> tuple[float, float]:
    """Returns slope and intercept of the frame; one that is absent changes nothing.

    Raises:
        ImageBroken: one of them is no number.
    """
    group = _find_group(dataset, "PixelValueTransformationSequence", index)
    slope, intercept = (_read_first(group, name) for name in ("RescaleSlope", "RescaleIntercept"))
    if (slope is None) != (intercept is None):
        absent, usual = ("RescaleSlope", 1) if slope is None else ("RescaleIntercept", 0)
        group.notes.append(f"{absent} is absent; {usual} was assumed.")
    if slope == 0:
        group.notes.append("RescaleSlope is 0, which would make all values equal; 1 was assumed.")
        slope = 1.0
    if group is not dataset:
        dataset.notes += group.notes
    return 1.0 if slope is None else slope, intercept or 0.0


def _read_first(group: DataSet, keyword: str) -> float | None:
    values = group.list_reals(keyword)
    if not values:
        return None
    if math.isnan(values[0]):
        raise unreadable(keyword)
    return values[0]


def _read_padding(dataset: DataSet, module: PixelModule) -> Interval | None:
    """C.7.5.1.1.2: the stored values that stand for pixels outside the picture."""
    values = dataset.list_wholes("PixelPaddingValue", signed=module.signed)
    if not values:
        return None
    limits = dataset.list_wholes("PixelPaddingRangeLimit", signed=module.signed) or values
    return min(values[0], limits[0]), max(values[0], limits[0])


def choose_file_scale(
    greys: Greys, dataset: DataSet, module: PixelModule, index: int, *, reach: Interval
) -> GreyScale:
    """Returns the file's own grey scale, or percentiles where it has none (C.11.2.1).

    `reach` is that of `read_greys`.
    """
    voi = _find_group(dataset, "FrameVOILUTSequence", index)
    centres, widths = voi.list_reals("WindowCenter"), voi.list_reals("WindowWidth")
    windows = list(zip(centres, widths, strict=False))
    function = voi.get_code("VOILUTFunction") or "LINEAR"
    notes = () if voi is dataset else tuple(voi.notes)
    if windows and _is_usable(windows[0], function):
        return _add_notes(_file_window(windows, function), notes)
    if table := _find_in_sequence(voi, "VOILUTSequence", reach):
        return _voi_table(table)
    if centres or widths:
        return _add_notes(percentile_scale(greys, PERCENTILES), (_UNUSABLE,))
    if _is_display_ready(greys, module, reach):
        return full_scale(255)
    return percentile_scale(greys, PERCENTILES)


def _add_notes(scale: GreyScale, notes: tuple[str, ...]) -> GreyScale:
    return replace(scale, notes=(*notes, *scale.notes))


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
    # As dcm4che does with Agfa's tables. Below 16 bits one may be left over on purpose.
    true = find_true_bits(table, most_spare=0 if table.bits >= 16 else 1)

    def to_unit(values: Reals) -> Reals:
        return true[np.rint(values)] / float(2**true.bits - 1)

    notes = ("The file's VOI lookup table was applied.", *true.notes)
    return GreyScale(to_unit=to_unit, window=None, origin="file", notes=notes)


def _is_display_ready(greys: Greys, module: PixelModule, reach: Interval) -> bool:
    """Whether values are 8 unsigned bits without units, as on a screen, so they need no window."""
    plain = (greys.slope, greys.intercept) == (1.0, 0.0) and reach == (0.0, 255.0)
    return plain and module.bits_stored == 8 and bool(greys.stored.max() <= 255)


def _find_group(dataset: DataSet, keyword: str, index: int) -> DataSet:
    """C.7.6.16: an enhanced object's macro for this frame, else for all, else the data set."""
    per_frame, shared = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
    for sequence, at in ((per_frame, index), (shared, 0)):
        places = dataset.list_places(sequence)
        if at < len(places):
            groups = dataset.read_item(sequence, places[at], (Tag(keyword),))
            macro = next((m for m in groups.list_items(keyword, _MACROS[keyword]) if m), None)
            if macro is not None:
                return macro
    return dataset


def _find_in_sequence(holder: DataSet, keyword: str, reach: Interval) -> LookupTable | None:
    """Returns the first lookup table with entries in a sequence, or None if there is none."""
    tables = (
        find_table(item, "LUTDescriptor", "LUTData", reach=reach)
        for item in holder.list_items(keyword, _TABLE)
    )
    return next((table for table in tables if table is not None), None)
