"""docs/choosing.md: its table of distances says what its sentences say."""

import re
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import pytest

from app.publish import choose_sigma, distances_table, put_table

PAGE = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text()
ROW = re.compile(
    r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \| more than ([\d.]+) % \|$", re.MULTILINE
)
ROWS = [
    (name, side, float(distance), float(sigma), float(share) / 100)
    for name, side, distance, sigma, share in ROW.findall(PAGE)
]
LEVELS = (0.1, 0.25, 0.5, 1.0)


def test_a_sigma_to_start_with_is_of_the_size_of_the_radius_or_a_little_less():
    for _, _, distance, sigma, _ in ROWS:
        assert sigma <= distance
        larger = [level for level in LEVELS if level > sigma]
        assert not larger or larger[0] > distance, "the largest one that is no larger"
        assert distance <= 3.2 * sigma, "ten thousand samples can prove it"


def test_a_radius_is_certified_if_the_share_of_copies_agrees():
    """The radius of a share is sigma times the normal quantile of it (Cohen et al., 2019)."""
    for _, _, distance, sigma, share in ROWS:
        proved = sigma * NormalDist().inv_cdf(share)
        assert distance - 0.01 <= proved <= distance + 0.2


def test_the_table_is_of_three_sizes_and_grows_with_the_side():
    assert {side for _, side, *_ in ROWS} == {"64 × 64", "224 × 224", "448 × 448", "any"}
    for name in {row[0] for row in ROWS}:
        distances = [row[2] for row in ROWS if row[0] == name]
        assert all(near < far for near, far in pairwise(distances))


def test_distances_are_those_of_hand():
    """224 * sqrt(3) / 255, half of it, 10 * 16 * sqrt(3) / 255, and sqrt(3)."""
    found = {(name, side): distance for name, side, distance, *_ in ROWS}
    assert found["one grey level in every pixel", "224 × 224"] == 1.52
    assert found["one grey level in a quarter of the pixels", "224 × 224"] == 0.76
    assert found["ten grey levels in a patch of 16 × 16", "any"] == 1.09
    assert found["one pixel from black to white", "any"] == 1.73


def test_the_page_has_the_table_that_is_computed():
    assert distances_table() in PAGE
    assert put_table(PAGE, "distances", distances_table()) == PAGE


def test_a_radius_below_all_levels_gets_the_smallest():
    assert (choose_sigma(0.05), choose_sigma(0.1), choose_sigma(7)) == ("0.1", "0.1", "1")


def test_a_page_without_marks_is_left_alone():
    with pytest.raises(ValueError, match="no table distances"):
        put_table("# A page", "distances", distances_table())
