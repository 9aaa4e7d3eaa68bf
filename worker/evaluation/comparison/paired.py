"""Compares two rows of an evaluation image by image, because both judge the same noise."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worker.contract import Contract
from worker.evaluation.comparison.bootstrap import bootstrap_mean

RightRadii = Sequence[Decimal | None]
"""For each image, the radius within which its right class is certified; None if it is not."""


class PairedDifference(Contract):
    """How a row differs from the template's at one radius, on the same images and noise.

    `gained` images are right in this row alone, `lost` images under the template alone. The
    difference is of certified accuracy, this row's less the template's. `low` and `high` are its
    95 % bootstrap interval over images; if no image differs, it has no width. `p_value` is that of
    the exact two-sided McNemar test of no difference.
    """

    gained: int = Field(ge=0)
    lost: int = Field(ge=0)
    difference: float
    low: float
    high: float
    p_value: float = Field(ge=0, le=1)


def compare(row: RightRadii, reference: RightRadii, radius: Decimal) -> PairedDifference:
    """Compares two rows at a radius. Both list the same images in the same order.

    Raises:
        ValueError: the rows differ in length, or have no image.
    """
    differences = difference_at(row, reference, radius)
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    low, high = bootstrap_mean([differences], len(differences))
    return PairedDifference(
        gained=gained,
        lost=lost,
        difference=(gained - lost) / len(differences),
        low=low,
        high=high,
        p_value=compute_mcnemar(gained, lost),
    )


def difference_at(row: RightRadii, reference: RightRadii, radius: Decimal) -> npt.NDArray[np.int64]:
    """For each image, int64 (images,): 1 if right in `row` alone, -1 if in `reference` alone."""
    pairs = zip(is_right(row, radius), is_right(reference, radius), strict=True)
    return np.array([int(ours) - int(theirs) for ours, theirs in pairs], dtype=np.int64)


def is_right(row: RightRadii, radius: Decimal) -> list[bool]:
    """For each image, whether its right class is certified at the radius or beyond."""
    return [found is not None and found >= radius for found in row]


def compute_mcnemar(gained: int, lost: int) -> float:
    """The p-value of McNemar's exact test: of the images that differ, half should be gained.

    It is 1 if no image differs.
    """
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest  # half a second, which every app would spend as it starts

    return float(binomtest(gained, gained + lost).pvalue)
