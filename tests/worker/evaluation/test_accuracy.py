"""Certified accuracy and its table, by hand."""

from decimal import Decimal

import pytest
from scipy.stats import beta

from worker.evaluation.accuracy import Share, certified_accuracy
from worker.evaluation.comparison.paired import PairedDifference
from worker.evaluation.plot import create_steps
from worker.evaluation.results import average_radius
from worker.evaluation.tables import (
    format_difference,
    format_p_value,
    format_ratio,
    format_share,
)

ABSTAINED = WRONG = None
RIGHT = [Decimal("0.3"), ABSTAINED, Decimal("0.1"), WRONG, Decimal("0.500000"), Decimal(0)]


@pytest.mark.parametrize(
    ("radius", "right"),
    [("0", 4), ("0.000001", 3), ("0.1", 3), ("0.100001", 2), ("0.5", 1), ("0.51", 0)],
)
def test_certified_accuracy_counts_right_classes_with_at_least_the_radius(radius, right):
    share = certified_accuracy(RIGHT, Decimal(radius))
    assert (share.right, share.images) == (right, 6)
    assert share.share == right / 6


def test_an_interval_is_clopper_pearson_with_two_and_a_half_percent_a_side():
    for right, images in [(1, 7), (30, 60), (59, 60), (433, 500)]:
        share = Share.of(right, images)
        assert share.low == pytest.approx(beta.ppf(0.025, right, images - right + 1), abs=1e-12)
        assert share.high == pytest.approx(beta.ppf(0.975, right + 1, images - right), abs=1e-12)
    assert Share.of(0, 9).low == 0
    assert Share.of(0, 9).high == pytest.approx(1 - 0.025 ** (1 / 9))
    assert Share.of(9, 9).low == pytest.approx(0.025 ** (1 / 9))
    assert Share.of(9, 9).high == 1


def test_a_share_is_rounded_to_the_nearest_and_never_up_to_one():
    assert format_ratio(3, 10) == "0.300"
    assert format_ratio(1999, 2000) == "0.999"
    assert format_ratio(8, 12) == "0.667"
    assert format_ratio(1, 3) == "0.333"
    assert (format_ratio(0, 5), format_ratio(5, 5)) == ("0.000", "1.000")
    assert format_ratio(1, 8, digits=2) == "0.13"
    assert format_ratio(199, 200, digits=2) == "0.99"


def test_an_interval_is_rounded_outwards():
    assert format_share(Share.of(1, 2)) == "0.500 (0.012–0.988)"  # 0.01258, 0.98742
    assert format_share(Share.of(2, 2)) == "1.000 (0.158–1.000)"  # 0.15811


def test_a_difference_is_shown_with_its_interval_rounded_outwards():
    paired = PairedDifference(
        gained=1, lost=3, difference=-0.02, low=-0.0601, high=-0.0001, p_value=0.625
    )
    assert format_difference(paired) == "-0.020 (-0.07 to +0.00), p = 0.63"
    exact = paired.model_copy(update={"low": 0.1, "high": 0.3, "difference": 0.2})
    assert format_difference(exact) == "+0.200 (+0.10 to +0.30), p = 0.63"


def test_a_p_value_is_never_shown_smaller_than_it_is():
    assert format_p_value(1) == "1.0"
    assert format_p_value(0.0101) == "0.011"
    assert format_p_value(0.00099) == "0.00099"
    assert format_p_value(0.000031) == "<0.0001"


def test_the_average_certified_radius_counts_what_is_not_right_as_zero_and_rounds_down():
    assert average_radius(RIGHT) == Decimal("0.15")
    assert average_radius([Decimal("0.2"), None, None]) == Decimal("0.066666")
    assert average_radius([None]) == 0


def test_steps_are_certified_accuracy_between_the_columns_of_the_table():
    found = [Decimal("0.1"), Decimal("0.3"), Decimal("0.3"), Decimal("0.5")]
    radii, shares = create_steps(found, 8)
    assert radii == [0, 0.1, 0.3, 0.3, 0.5, 0.5]
    assert shares == [0.5, 0.5, 0.375, 0.25, 0.125, 0]
    for radius, share in zip(radii[1:-1], shares[1:-1], strict=True):
        at = certified_accuracy([*found, *[None] * 4], Decimal(str(radius)))
        assert at.share >= share, "where radii tie, the first of the steps is the share"
    assert create_steps([], 8) == ([0, 0], [0, 0])
