"""Bounds and radii against values computed with 60 digits (certificates.json says how)."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import (
    Abstained,
    Certified,
    certify_cohen,
    l2_radius,
    lower_confidence_bound,
    upper_confidence_bound,
)

REFERENCE = json.loads(Path(__file__).with_name("certificates.json").read_text())


def close(expected: str) -> object:
    return pytest.approx(float(expected), rel=1e-9, abs=0)


def outcome_of(row: dict) -> Certified | Abstained:
    counts = [row["nA"], row["n"] - row["nA"]]
    return certify_cohen([1, 0], counts, sigma=float(row["sigma"]), alpha=float(row["alpha"]))


@pytest.mark.parametrize("row", REFERENCE["R1_one_sided_CP"])
def test_cohen_agrees_with_the_reference(row):
    outcome = outcome_of(row)
    assert outcome.p_a_lower == close(row["pA_lower"])
    assert isinstance(outcome, Abstained) == row["abstain"]
    if isinstance(outcome, Certified):
        assert outcome.radius == close(row["radius"])


@pytest.mark.parametrize("row", REFERENCE["R2_runner_up_half_split"])
def test_bounds_and_radius_of_two_classes_agree_with_the_reference(row):
    p_a = lower_confidence_bound(row["nA"], row["n"], float(row["alpha_lower"]))
    p_b = upper_confidence_bound(row["nB_max"], row["n"], float(row["alpha_upper"]))
    assert p_a == close(row["pA_lower"])
    assert p_b == close(row["pB_upper"])
    radius = l2_radius(p_a, min(p_b, 1 - p_a), float(row["sigma"]))
    if row["abstain"]:
        assert radius <= 0
    else:
        assert radius == close(row["radius"])


@pytest.mark.parametrize("row", REFERENCE["max_radius_over_sigma"])
def test_a_unanimous_vote_gives_the_largest_radius_n_allows(row):
    outcome = certify_cohen([1, 0], [row["n"], 0], sigma=1.0, alpha=float(row["alpha"]))
    assert isinstance(outcome, Certified)
    assert outcome.radius == close(row["value"])


@pytest.mark.parametrize("row", REFERENCE["min_count_to_certify"])
def test_the_smallest_count_for_a_radius_is_the_reference_s(row):
    def reaches(k: int) -> bool:
        outcome = certify_cohen([1, 0], [k, row["n"] - k], sigma=1.0, alpha=float(row["alpha"]))
        target = float(row["target_radius_over_sigma"])
        return isinstance(outcome, Certified) and outcome.radius >= target

    if row["k"] is None:  # not even a unanimous vote gets there
        assert not reaches(row["n"])
    else:
        assert reaches(row["k"])
        assert not reaches(row["k"] - 1)


@pytest.mark.parametrize("row", REFERENCE["min_n_for_radius"])
def test_the_smallest_n_for_a_radius_is_the_reference_s(row):
    def reaches(n: int) -> bool:
        outcome = certify_cohen([1, 0], [n, 0], sigma=1.0, alpha=float(row["alpha"]))
        target = float(row["radius_over_sigma"])
        return isinstance(outcome, Certified) and outcome.radius >= target

    assert reaches(row["n"])
    assert not reaches(row["n"] - 1)


@given(
    k=st.integers(0, 500), extra=st.integers(0, 500), alpha=st.floats(1e-9, 0.49), data=st.data()
)
def test_lower_bound_is_exact_by_the_binomial_tail(k, extra, alpha, data):
    """P(Bin(n, lower) >= k) = alpha is what Clopper-Pearson means."""
    from scipy.stats import binom

    n = max(1, k + extra)
    lower = lower_confidence_bound(k, n, alpha)
    if k == 0:
        assert lower == 0
    else:
        assert binom.sf(k - 1, n, lower) == pytest.approx(alpha, rel=1e-6)


@given(k=st.integers(0, 300), extra=st.integers(0, 300), alpha=st.floats(1e-9, 0.49))
def test_upper_bound_is_the_lower_bound_of_the_failures(k, extra, alpha):
    n = max(1, k + extra)
    upper = upper_confidence_bound(k, n, alpha)
    assert upper == pytest.approx(1 - lower_confidence_bound(n - k, n, alpha), abs=1e-12)


@given(
    counts=st.lists(st.integers(0, 400), min_size=2, max_size=6),
    sigma=st.floats(0.01, 5),
    alpha=st.floats(1e-6, 0.4),
    ambiguous=st.integers(0, 50),
)
def test_laws_of_the_radius(counts, sigma, alpha, ambiguous):
    """It grows with N_A, falls with the others and 1/alpha, and is linear in sigma (7.5)."""
    if sum(counts) + ambiguous == 0:
        counts[0] = 1
    selection = [1] + [0] * (len(counts) - 1)

    def radius(counts, sigma=sigma, alpha=alpha, ambiguous=ambiguous):
        outcome = certify_cohen(selection, counts, sigma=sigma, alpha=alpha, ambiguous=ambiguous)
        assert outcome.top_class == 0
        return outcome.radius if isinstance(outcome, Certified) else 0.0

    base = radius(counts)
    assert radius([counts[0] + 5, *counts[1:]]) >= base
    assert radius([counts[0], counts[1] + 5, *counts[2:]]) <= base
    assert radius(counts, ambiguous=ambiguous + 5) <= base
    assert radius(counts, alpha=alpha / 2) <= base
    assert radius(counts, sigma=2 * sigma) == pytest.approx(2 * base, rel=1e-12)
    assert radius([counts[0], *reversed(counts[1:])]) == base


def test_an_ambiguous_sample_counts_like_a_vote_for_another_class():
    with_votes = certify_cohen([9, 1], [900, 100], sigma=0.5, alpha=0.001)
    with_doubt = certify_cohen([9, 1], [900, 0], sigma=0.5, alpha=0.001, ambiguous=100)
    assert with_doubt == with_votes


@given(
    votes=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    estimation=st.lists(st.integers(0, 300), min_size=4, max_size=4).filter(any),
    data=st.data(),
)
def test_lost_selection_samples_never_choose_another_class(votes, estimation, data):
    """Whoever loses them may have seen every vote: only an abstention is in his reach."""
    lost = data.draw(st.sets(st.sampled_from(range(len(votes)))))
    left = [vote for sample, vote in enumerate(votes) if sample not in lost]

    def outcome(selection: list[int], lost: int):
        counts = [selection.count(c) for c in range(4)]
        return certify_cohen(counts, estimation, sigma=0.5, alpha=0.1, ambiguous_selection=lost)

    whole, found = outcome(votes, 0), outcome(left, len(lost))
    assert isinstance(found, Abstained) or found == whole
    assert isinstance(outcome([], len(votes)), Abstained)


def test_a_selection_that_lost_samples_could_overturn_abstains():
    certain = {"sigma": 0.5, "alpha": 0.001}
    for lost, expected in ((0, Certified), (19, Certified), (20, Abstained), (40, Abstained)):
        outcome = certify_cohen([60, 40], [1000, 0], ambiguous_selection=lost, **certain)
        assert isinstance(outcome, expected)
        assert outcome.top_class == 0


def test_a_bare_majority_abstains():
    outcome = certify_cohen([60, 40], [5050, 4950], sigma=0.5, alpha=0.001)
    assert isinstance(outcome, Abstained)
    assert outcome.top_class == 0


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": 0.0},
        {"sigma": -1.0},
        {"sigma": math.nan},
        {"sigma": math.inf},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"alpha": math.nan},
        {"ambiguous": -1},
        {"ambiguous_selection": -1},
    ],
)
def test_numbers_out_of_range_are_refused(change):
    arguments = {"sigma": 0.5, "alpha": 0.001, "ambiguous": 0} | change
    with pytest.raises(ValueError, match="must"):
        certify_cohen([10, 0], [100, 0], **arguments)


@pytest.mark.parametrize(
    ("selection", "estimation"),
    [
        ([10], [100]),
        ([10, 0], [100, 0, 0]),
        ([10, 0], [0, 0]),
        ([10, 0], [-1, 3]),
        ([1, 0], [1.5, 0]),
    ],
)
def test_counts_that_are_none_are_refused(selection, estimation):
    with pytest.raises(ValueError):  # noqa: PT011  # each kind has its own sentence
        certify_cohen(selection, estimation, sigma=0.5, alpha=0.001)


def test_counts_that_do_not_fit_together_are_refused_by_the_bounds():
    with pytest.raises(ValueError, match="successes"):
        lower_confidence_bound(11, 10, 0.01)
    with pytest.raises(ValueError, match="trials"):
        upper_confidence_bound(0, 0, 0.01)
