"""Chooses which grey values are shown and how: DICOM PS3.3 C.11.2.1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from models.imaging.pixels.decoded import Window, WindowOrigin
from models.imaging.pixels.errors import WindowInvalid
from models.imaging.pixels.greys import Greys, Reals, ToUnit

RequestedWindow = Window | Literal["auto"] | None
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, kw_only=True)
class GreyScale:
    """A chosen transformation of grey values to [0, 1], and notes about it."""

    to_unit: ToUnit
    window: Window | None
    origin: WindowOrigin
    notes: tuple[str, ...] = ()


def linear(values: Reals, *, centre: float, width: float) -> Reals:
    """C.11.2.1.2.1 with output [0, 1]: 0 up to c − 0.5 − (w−1)/2, 1 beyond c − 0.5 + (w−1)/2."""
    black = centre - 0.5 - (width - 1) / 2
    if width == 1:
        return (values > black).astype(np.float64)
    return np.clip((values - black) / (width - 1), 0.0, 1.0)


def linear_exact(values: Reals, *, centre: float, width: float) -> Reals:
    """C.11.2.1.3.2 with output [0, 1]."""
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)


def sigmoid(values: Reals, *, centre: float, width: float) -> Reals:
    """C.11.2.1.3.1 with output [0, 1]."""
    return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width)), np.float64)


FUNCTIONS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def check_window(window: RequestedWindow) -> None:
    """Raises WindowInvalid unless `window` is None, "auto" or finite with a width of 1 or more."""
    if window is None or window == "auto":
        return
    if not (isinstance(window, tuple) and len(window) == 2 and all(map(_is_number, window))):
        raise WindowInvalid('Expected window as (centre, width) or "auto", got something else.')
    centre, width = window
    if not (math.isfinite(centre) and math.isfinite(width) and width >= 1):
        raise WindowInvalid(
            f"Expected a finite window centre and a width of at least 1, got {centre}, {width}."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def refuse_window_on_colour(window: RequestedWindow) -> tuple[str, ...]:
    """Returns notes about a window that was requested for a colour picture.

    Raises:
        WindowInvalid: a centre and a width were given, but there are no grey values for them.
    """
    if window is None:
        return ()
    if window == "auto":
        return ("The picture is in colour, so no window was applied.",)
    raise WindowInvalid(
        "Expected a grey image for a window, got one in colour. Leave the window out."
    )


def requested_scale(greys: Greys, window: RequestedWindow) -> GreyScale | None:
    """Returns the request's own choice, or None if it leaves the choice to the file."""
    if window is None:
        return None
    if window == "auto":
        return percentile_scale(greys, PERCENTILES)
    centre, width = window
    to_unit = partial(linear, centre=float(centre), width=float(width))
    return GreyScale(to_unit=to_unit, window=(float(centre), float(width)), origin="request")


def percentile_scale(greys: Greys, percentiles: Sequence[float]) -> GreyScale:
    """Returns the LINEAR window that ends at two percentiles of the values."""
    low, high = greys.percentiles(*percentiles)
    # C.11.2.1.2.1 solved for c and w: black ends at c − 0.5 − (w−1)/2, and white begins at
    # c − 0.5 + (w−1)/2.
    centre, width = (low + high) / 2 + 0.5, high - low + 1
    full = " (their full range)" if tuple(percentiles) == (0, 100) else ""
    notes = [f"Percentile window {percentiles[0]:g}..{percentiles[1]:g} of the values{full}."]
    if width == 1:
        notes.append("All values between these percentiles are equal.")
    to_unit = partial(linear, centre=centre, width=width)
    return GreyScale(
        to_unit=to_unit, window=(centre, width), origin="percentile", notes=tuple(notes)
    )


def full_scale(maximum: float) -> GreyScale:
    """Maps 0 … maximum to [0, 1], for values that are meant for display as they are."""

    def to_unit(values: Reals) -> Reals:
        return np.clip(values / maximum, 0.0, 1.0)

    return GreyScale(to_unit=to_unit, window=None, origin="none")
