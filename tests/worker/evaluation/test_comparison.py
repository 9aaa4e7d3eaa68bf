"""Paired comparisons against closed forms, and against drawing images one by one."""

from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import binom

from worker.evaluation.comparison.bootstrap import RESAMPLES, bootstrap_mean
from worker.evaluation.comparison.paired import compare, compute_mcnemar
from worker.evaluation.comparison.pooled import Judged, Pooled

R = Decimal("0.25")
FAR, NEAR = Decimal("0.3"), Decimal("0.1")


def rows(*, both: int, gained: int, lost: int, neither: int) -> tuple[list, list]:
    """A row and its reference, with so many images right in both, in one alone and in neither."""
    row = [FAR] * (both + gained) + [NEAR] * lost + [None] * neither
    reference = [FAR] * both + [NEAR] * gained + [FAR] * lost + [NEAR] * neither
    return row, reference


def test_mcnemar_is_the_sign_test_of_the_images_that_differ():
    for gained, lost in [(1, 0), (9, 1), (3, 8), (12, 40)]:
        tail = binom.cdf(min(gained, lost), gained + lost, 0.5)
        assert compute_mcnemar(gained, lost) == pytest.approx(min(1, 2 * tail), rel=1e-12)
    assert compute_mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert compute_mcnemar(7, 7) == compute_mcnemar(0, 0) == 1


def test_a_difference_counts_the_images_that_one_row_alone_has_right():
    found = compare(*rows(both=40, gained=25, lost=5, neither=30), R)
    assert (found.gained, found.lost) == (25, 5)
    assert found.difference == pytest.approx(0.2)
    assert found.low > 0
    assert found.p_value == pytest.approx(compute_mcnemar(25, 5))
    swapped = compare(*reversed(rows(both=40, gained=25, lost=5, neither=30)), R)
    assert swapped.difference == -found.difference
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=0.011)


def test_an_image_whose_radius_is_exactly_r_is_right():
    assert compare([R], [None], R).gained == 1
    assert compare([R], [None], R + Decimal("0.000001")).gained == 0


def test_equal_rows_differ_by_nothing_for_certain():
    row, _ = rows(both=9, gained=3, lost=0, neither=2)
    found = compare(row, row, R)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_rows_over_other_images_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        compare([FAR, FAR], [FAR], R)


def test_drawing_kinds_of_images_is_drawing_images():
    """The interval is that of the plain bootstrap, which draws places; both at 10,000 draws."""
    sums = np.array([2] * 6 + [1] * 14 + [0] * 70 + [-1] * 10)
    low, high = bootstrap_mean([sums], 2 * len(sums))
    places = np.random.default_rng(5).integers(len(sums), size=(RESAMPLES, len(sums)))
    plain = np.percentile(sums[places].sum(axis=1) / (2 * len(sums)), (2.5, 97.5))
    # Such a quantile has a standard error of 0.0009, and means lie 0.005 apart.
    assert (low, high) == pytest.approx(tuple(plain), abs=0.0055)
    assert bootstrap_mean([sums], 2 * len(sums)) == (low, high), "the same seed, the same interval"


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    """1,000 samples of 100 images. Percentile intervals cover a little less than 0.95 of them.

    Four standard errors of the share are 0.028.
    """
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(1000):
        sums = generator.choice([1, -1, 0], p=[0.2, 0.1, 0.7], size=100)
        low, high = bootstrap_mean([sums], 100, resamples=1000)
        covered += low <= 0.1 <= high
    assert covered / 1000 == pytest.approx(0.945, abs=0.028)


def test_pooling_one_pair_is_comparing_it():
    row, reference = rows(both=40, gained=25, lost=5, neither=30)
    pooled = Pooled.of([Judged(images="a", row=row, reference=reference, radius=R)])
    alone = compare(row, reference, R)
    assert (pooled.low, pooled.high) == (alone.low, alone.high)
    assert pooled.difference == pytest.approx(alone.difference)
    assert (pooled.accuracy, pooled.reference) == (0.65, 0.45)
    assert (pooled.cells, pooled.images) == (100, 100)


def test_cells_of_one_image_are_not_counted_as_several_images():
    """The same cells again add no information, while other images' cells narrow the interval."""
    row, reference = rows(both=40, gained=25, lost=5, neither=30)
    once = Judged(images="a", row=row, reference=reference, radius=R)
    other = Judged(images="b", row=row, reference=reference, radius=R)
    alone, twice, more = Pooled.of([once]), Pooled.of([once, once]), Pooled.of([once, other])
    assert (twice.low, twice.high) == (alone.low, alone.high)
    assert (twice.cells, twice.images, more.images) == (200, 100, 200)
    assert more.high - more.low < 0.8 * (alone.high - alone.low)


def test_nothing_is_not_pooled():
    with pytest.raises(ValueError, match="at least one"):
        Pooled.of([])
    short = Judged(images="a", row=[FAR], reference=[FAR], radius=R)
    with pytest.raises(ValueError, match="shape"):
        Pooled.of([short, Judged(images="a", row=[FAR] * 2, reference=[FAR] * 2, radius=R)])
