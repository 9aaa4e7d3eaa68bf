"""Outcomes of a certification, and their figures, rounded so that none overstates the guarantee."""

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

_SAFETY = Decimal("1e-9")  # every numerical route can land about 1e-14 above the exact bound
_BOUND_SAFETY = Decimal("1e-12")
_RADIUS_STEP = Decimal("0.000001")
_BOUND_STEP = Decimal("0.000000001")


@dataclass(frozen=True, kw_only=True)
class Certified:
    """With probability at least 1 - alpha over the sampling, g is `top_class` within `radius`.

    Attributes:
        top_class: index of the predicted class.
        radius: l2 radius, in pixels scaled to [0, 1], unrounded.
        p_a_lower: lower bound on the top class's probability.
        p_b_upper: upper bound on every other class's probability.
    """

    top_class: int
    radius: float
    p_a_lower: float
    p_b_upper: float


@dataclass(frozen=True, kw_only=True)
class Abstained:
    """Nothing is claimed. `top_class` is the class that came closest; it is not a prediction."""

    top_class: int
    p_a_lower: float
    p_b_upper: float


Outcome = Certified | Abstained


def rounded_down(value: float | Decimal, step: Decimal = _RADIUS_STEP) -> Decimal:
    """The largest multiple of `step` that is at least 1e-9 below `value`; 0 if that is negative."""
    lowered = Decimal(value) - _SAFETY
    return max(Decimal(0), lowered).quantize(step, rounding=ROUND_FLOOR)


def bound_rounded_down(p: float) -> Decimal:
    """A lower bound on a probability, as documents show it: never above the exact bound."""
    return max(Decimal(0), Decimal(p) - _BOUND_SAFETY).quantize(_BOUND_STEP, rounding=ROUND_FLOOR)


def bound_rounded_up(p: float) -> Decimal:
    """An upper bound on a probability, as documents show it: never below the exact bound."""
    return min(Decimal(1), Decimal(p) + _BOUND_SAFETY).quantize(_BOUND_STEP, rounding=ROUND_CEILING)


@dataclass(frozen=True, kw_only=True)
class ReadingAids:
    """The same l2 ball in units a reader can picture, each rounded down (CERTIFICATE 1).

    Attributes:
        radius: R itself, as the document shows it.
        radius_grey: R/sqrt(3), for a grey image copied to three channels and changed alike in all
            three; in grey units.
        linf: R/sqrt(d), the l-infinity radius: a bound on the change of every channel of every
            pixel.
        one_channel_levels: one channel of one pixel may change by fewer than this many of 255.
        one_pixel_levels: all three channels of one pixel may change by fewer than this many.
        every_pixel_levels: every channel of every pixel may change by fewer than this many.
    """

    radius: Decimal
    radius_grey: Decimal
    linf: Decimal
    one_channel_levels: Decimal
    one_pixel_levels: Decimal
    every_pixel_levels: Decimal


def reading_aids(radius: float, *, dimension: int) -> ReadingAids:
    """The figures derived from an unrounded l2 `radius` over `dimension` = 3 H W channel-pixels.

    They are computed from the radius rounded down and from square roots rounded up, so that none
    exceeds its exact value.
    """
    r = rounded_down(radius)
    root3, root_d = (_root_from_above(n) for n in (3, dimension))

    def down(value: Decimal) -> Decimal:
        return value.quantize(_RADIUS_STEP, rounding=ROUND_FLOOR)

    return ReadingAids(
        radius=r,
        radius_grey=down(r / root3),
        linf=down(r / root_d),
        one_channel_levels=down(255 * r),
        one_pixel_levels=down(255 * r / root3),
        every_pixel_levels=down(255 * r / root_d),
    )


def _root_from_above(n: int) -> Decimal:
    """sqrt(n), rounded up to 15 decimals."""
    scaled = n * 10**30
    root = math.isqrt(scaled)
    return Decimal(root + (root * root < scaled)) / 10**15
