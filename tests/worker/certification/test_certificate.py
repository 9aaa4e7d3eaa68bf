"""Figures of a document never overstate."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import (
    Abstained,
    Certified,
    Cohen,
    Goal,
    Tally,
    bound_rounded_down,
    bound_rounded_up,
    certify_cohen,
    reading_aids,
    rounded_down,
)

radii = st.floats(0, 50, allow_nan=False)


@given(radii)
def test_rounded_down_stays_below_and_within_a_millionth(radius):
    shown = rounded_down(radius)
    assert shown <= max(Decimal(0), Decimal(radius) - Decimal("1e-9"))
    assert shown > Decimal(radius) - Decimal("1.002e-6")
    assert shown >= 0
    assert shown.as_tuple().exponent == -6


def test_rounding_never_goes_up_where_round_would():
    assert rounded_down(0.5512039999) == Decimal("0.551203")
    assert rounded_down(0.551203) == Decimal("0.551202")  # the exact bound may lie just below
    assert rounded_down(1e-10) == Decimal("0.000000")


@given(radius=radii, size=st.integers(1, 512))
def test_reading_aids_are_within_the_ball_exactly(radius, size):
    d = 3 * size * size
    aids = reading_aids(radius, dimension=d)
    r = Fraction(aids.radius)
    assert Fraction(aids.linf) ** 2 * d <= r**2
    assert Fraction(aids.radius_grey) ** 2 * 3 <= r**2
    assert Fraction(aids.every_pixel_levels) ** 2 * d <= (255 * r) ** 2
    assert Fraction(aids.one_pixel_levels) ** 2 * 3 <= (255 * r) ** 2
    assert Fraction(aids.one_channel_levels) <= 255 * r


def test_reading_aids_of_a_known_radius():
    aids = reading_aids(0.551204, dimension=3 * 224 * 224)
    assert aids.radius == Decimal("0.551203")
    assert aids.radius_grey == Decimal("0.318237")
    assert aids.linf == Decimal("0.001420")


@given(st.floats(0, 1))
def test_bounds_are_rounded_away_from_the_claim(p):
    assert bound_rounded_down(p) <= Decimal(p) <= bound_rounded_up(p)
    assert bound_rounded_down(p) >= 0
    assert bound_rounded_up(p) <= 1


NOTHING = {"selection": (), "estimation": ()}


def test_cohen_procedure_asks_for_both_phases_and_decides_at_exactly_its_n():
    procedure = Cohen(n0=10, n=100, alpha=0.001)
    assert set(procedure.find_goals(NOTHING, sigma=0.5)) == {
        Goal(phase="selection", n=10),
        Goal(phase="estimation", n=100),
    }
    done = {
        "selection": (Tally(counts=(9, 1)),),
        "estimation": (Tally(counts=(95, 3), ambiguous=2),),
    }
    assert procedure.find_goals(done, sigma=0.5) == ()
    assert procedure.decide(done, sigma=0.5) == certify_cohen(
        [9, 1], [95, 3], sigma=0.5, alpha=0.001, ambiguous=2
    )


def test_cohen_procedure_abstains_where_lost_selection_samples_could_choose():
    procedure = Cohen(n0=10, n=100, alpha=0.001)
    estimation = (Tally(counts=(100, 0)),)
    for selection, expected in (
        (Tally(counts=(7, 1), ambiguous=2), Certified),
        (Tally(counts=(6, 1), ambiguous=3), Certified),
        (Tally(counts=(5, 1), ambiguous=4), Abstained),
        (Tally(counts=(0, 0), ambiguous=10), Abstained),
    ):
        looks = {"selection": (selection,), "estimation": estimation}
        assert isinstance(procedure.decide(looks, sigma=0.5), expected)


@pytest.mark.parametrize("counts", [(95, 4), (95, 6)])
def test_cohen_procedure_refuses_another_n_than_was_fixed(counts):
    procedure = Cohen(n0=10, n=100, alpha=0.001)
    looks = {"selection": (Tally(counts=(9, 1)),), "estimation": (Tally(counts=counts),)}
    with pytest.raises(ValueError, match="estimation"):
        procedure.decide(looks, sigma=0.5)


def test_tallies_add_over_disjoint_ranges():
    assert Tally(counts=(1, 2), ambiguous=1) + Tally(counts=(3, 0)) == Tally(
        counts=(4, 2), ambiguous=1
    )
    with pytest.raises(ValueError, match="label sets"):
        Tally(counts=(1, 2)) + Tally(counts=(1, 2, 3))
