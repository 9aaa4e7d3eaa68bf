"""The staged procedure against 60-digit references, against its definition, and its laws."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm

from worker.certification import (
    Abstained,
    Certified,
    Staged,
    StoppingRule,
    Tally,
    certify_staged,
    plan_looks,
)
from worker.certification.staged import Claim, judge_look

REFERENCE = json.loads(Path(__file__).with_name("certificates.json").read_text())
EXAMPLES = REFERENCE["algorithm_S_examples"]
ROWS = [(example, place) for example in EXAMPLES for place in range(len(example["rows"]))]


def close(expected: str | float) -> object:
    return pytest.approx(float(expected), rel=1e-9, abs=0)


def arguments(example: dict) -> dict:
    return {
        "sigma": float(example["sigma"]),
        "alpha": float(example["alpha"]),
        "n_max": example["n_max"],
        "n_first": example["first"],
    }


# --- Known answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_schedule_is_the_reference_s(example):
    looks = plan_looks(float(example["alpha"]), example["n_max"], example["first"])
    assert [look.n for look in looks] == example["looks"]
    for look, row in zip(looks, example["rows"], strict=False):
        assert look.alpha == close(row["alpha_j"])


@pytest.mark.parametrize(("example", "place"), ROWS)
def test_every_look_agrees_with_the_reference(example, place):
    row = example["rows"][place]
    tally = Tally(counts=tuple(row["counts"]))
    claim = judge_look(tally, sigma=float(example["sigma"]), alpha=float(row["alpha_j"]))
    assert len(row["counts"]) == example["K"]
    assert claim.top_class == row["counts"].index(max(row["counts"]))
    assert claim.rank_p == close(row["rank_p"])
    assert claim.p_a_lower == close(row["pA_lower"])
    assert claim.p_b_upper == close(row["pB_used"])
    assert (claim.radius is not None) == row["claim"]
    if claim.radius is not None:
        assert claim.radius == close(row["radius"])


@pytest.mark.parametrize(("example", "place"), ROWS)
def test_the_outcome_after_every_look_is_the_largest_radius_of_the_reference(example, place):
    rows = example["rows"][: place + 1]
    outcome = certify_staged([row["counts"] for row in rows], **arguments(example))
    radii = [float(row["radius"]) for row in rows if row["claim"]]
    assert isinstance(outcome, Certified if radii else Abstained)
    if isinstance(outcome, Certified):
        assert outcome.radius == close(max(radii))
        assert outcome.top_class == 0


@pytest.mark.parametrize(
    ("classes", "n_max", "largest"),
    [(2, 10_000, 3.170), (2, 100_000, 3.787), (3, 10_000, 3.145), (9, 100_000, 3.765)],
)
def test_a_unanimous_vote_gives_the_largest_radius_n_max_allows(classes, n_max, largest):
    looks = [[look.n] + [0] * (classes - 1) for look in plan_looks(0.001, n_max)]
    outcome = certify_staged(looks, sigma=1.0, alpha=0.001, n_max=n_max)
    assert isinstance(outcome, Certified)
    assert outcome.radius == pytest.approx(largest, abs=5e-4)


@pytest.mark.parametrize(
    ("n_max", "sizes"),
    [
        (1, [1]),
        (63, [63]),
        (64, [64]),
        (71, [71]),  # 64 is not below 63.9
        (72, [64, 72]),  # 64 is below 64.8
        (142, [64, 142]),
        (143, [64, 128, 143]),
        (1_000, [64, 128, 256, 512, 1_000]),
    ],
)
def test_doublings_near_to_n_max_are_left_out(n_max, sizes):
    assert [look.n for look in plan_looks(0.001, n_max)] == sizes


def test_a_doubling_at_exactly_nine_tenths_of_n_max_is_left_out():
    assert [look.n for look in plan_looks(0.001, 10, 9)] == [10]
    assert [look.n for look in plan_looks(0.001, 1000, 225)] == [225, 450, 1000]


@given(n_max=st.integers(1, 1_000_000), alpha=st.floats(1e-12, 0.49))
def test_the_looks_share_alpha_half_of_it_for_the_last(n_max, alpha):
    *early, last = plan_looks(alpha, n_max)
    assert last.n == n_max
    assert math.fsum(look.alpha for look in (*early, last)) == pytest.approx(alpha, rel=1e-12)
    assert last.alpha == (alpha / 2 if early else alpha)
    assert len({look.alpha for look in early}) <= 1
    for place, look in enumerate(early):
        assert look.n == 64 * 2**place
        assert 10 * look.n < 9 * n_max
    assert 10 * 64 * 2 ** len(early) >= 9 * n_max


# --- The definition, in other words and by other routines ------------------------------------

counts_lists = st.lists(st.integers(0, 3_000), min_size=2, max_size=6)
alphas = st.floats(1e-9, 0.4)


def by_definition(counts: list[int], ambiguous: int, alpha: float) -> tuple[float, float, float]:
    """Rank p-value, p_A and p_B of CERTIFICATE 3, by scipy.stats."""
    n, k, second = sum(counts) + ambiguous, *sorted(counts, reverse=True)[:2]
    b = second + ambiguous
    rank_p = min(1.0, 2 * binom.sf(k - 1, k + b, 0.5))

    def lower(successes: int, share: float) -> float:
        return beta.ppf(share, successes, n - successes + 1) if successes else 0.0

    def upper(successes: int, share: float) -> float:
        return beta.isf(share, successes + 1, n - successes) if successes < n else 1.0

    if len(counts) == 2:
        p_a = lower(k, 0.98 * alpha)
        return rank_p, p_a, 1 - p_a
    p_a = lower(k, 0.49 * alpha)
    return rank_p, p_a, min(upper(b, 0.49 * alpha), 1 - p_a)


@given(counts=counts_lists, ambiguous=st.integers(0, 300), alpha=alphas)
def test_a_look_is_what_the_definition_says(counts, ambiguous, alpha):
    assume(sum(counts) + ambiguous > 0)
    claim = judge_look(Tally(counts=tuple(counts), ambiguous=ambiguous), sigma=0.5, alpha=alpha)
    rank_p, p_a, p_b = by_definition(counts, ambiguous, alpha)
    assert claim.rank_p == pytest.approx(rank_p, rel=1e-7, abs=1e-300)
    assert claim.p_a_lower == pytest.approx(p_a, rel=1e-7, abs=1e-12)
    assert claim.p_b_upper == pytest.approx(p_b, rel=1e-7, abs=1e-12)
    radius = 0.25 * (norm.ppf(p_a) - norm.ppf(p_b))
    assume(abs(rank_p / (0.02 * alpha) - 1) > 1e-6)
    assume(not abs(radius) < 1e-9)
    assert (claim.radius is not None) == (rank_p <= 0.02 * alpha and radius > 0)
    if claim.radius is not None:
        assert claim.radius == pytest.approx(radius, rel=1e-6)


def test_the_rank_check_decides_exactly_where_its_p_value_is_its_share():
    """p = 2^-9 of ten unanimous votes: at alpha = p / 0.02 it just fails by the safety margin."""
    p = 2.0**-9
    at_limit = judge_look(Tally(counts=(10, 0)), sigma=1.0, alpha=p / 0.02)
    above = judge_look(Tally(counts=(10, 0)), sigma=1.0, alpha=p / 0.02 * (1 + 1e-8))
    assert at_limit.rank_p == p
    assert at_limit.radius is None
    assert above.radius is not None


@pytest.mark.parametrize("counts", [(500, 500), (400, 400, 200), (500, 500, 0), (0, 0, 7, 7)])
def test_a_tie_claims_nothing(counts):
    claim = judge_look(Tally(counts=counts), sigma=0.5, alpha=0.4)
    assert claim.rank_p == 1.0
    assert claim.radius is None


@pytest.mark.parametrize("classes", [2, 3])
def test_samples_that_are_all_ambiguous_claim_nothing(classes):
    looks = [[0] * classes]
    outcome = certify_staged(looks, sigma=0.5, alpha=0.001, n_max=64, ambiguous=[64])
    assert isinstance(outcome, Abstained)
    assert (outcome.p_a_lower, outcome.p_b_upper) == (0.0, 1.0)


def test_two_classes_are_bounded_tighter_than_three_of_which_one_got_no_vote():
    two = judge_look(Tally(counts=(90, 10)), sigma=0.5, alpha=0.001)
    three = judge_look(Tally(counts=(90, 10, 0)), sigma=0.5, alpha=0.001)
    assert two.p_a_lower > three.p_a_lower
    assert two.radius > three.radius


def test_the_runner_up_bound_beats_the_rest_where_many_classes_share_it():
    """K = 9, p_A = 0.6, n = 10,000: 0.50 to 0.88 sigma where Cohen's gives 0.21 (CERTIFICATE 3)."""
    alpha = plan_looks(0.001, 10_000)[-1].alpha
    even = judge_look(Tally(counts=(6_000, 530, *[496] * 6, 494)), sigma=1.0, alpha=alpha)
    two = judge_look(Tally(counts=(6_000, 2_000, *[286] * 6, 284)), sigma=1.0, alpha=alpha)
    assert even.radius == pytest.approx(0.88, abs=0.005)
    assert two.radius == pytest.approx(0.50, abs=0.005)


# --- Outcomes over several looks -------------------------------------------------------------


def test_two_looks_that_claim_different_classes_abstain():
    one, other = [look for look in plan_looks(0.001, 1_000) if look.n in (64, 1_000)]
    assert judge_look(Tally(counts=(64, 0)), sigma=1.0, alpha=one.alpha).radius is not None
    assert judge_look(Tally(counts=(64, 936)), sigma=1.0, alpha=other.alpha).radius is not None
    looks = [[64, 0], [64, 64], [64, 192], [64, 448], [64, 936]]
    outcome = certify_staged(looks, sigma=1.0, alpha=0.001, n_max=1_000)
    assert isinstance(outcome, Abstained)
    procedure = Staged(n_max=1_000, alpha=0.001, rule=StoppingRule())
    made = {"selection": (), "estimation": tuple(Tally(counts=tuple(c)) for c in looks)}
    assert procedure.alarms(made, sigma=1.0)
    assert procedure.decide(made, sigma=1.0) == outcome


def test_an_early_claim_stands_when_later_looks_claim_less():
    looks = [[64, 0], [68, 60], [130, 126]]
    alone = certify_staged(looks[:1], sigma=1.0, alpha=0.01, n_max=1_000)
    assert isinstance(alone, Certified)
    assert certify_staged(looks, sigma=1.0, alpha=0.01, n_max=1_000) == alone


def test_the_procedure_decides_as_the_function_does():
    example = EXAMPLES[0]
    procedure = Staged(n_max=10_000, alpha=0.001, rule=StoppingRule())
    tallies = tuple(Tally(counts=tuple(row["counts"])) for row in example["rows"])
    for made in range(1, len(tallies) + 1):
        looks = {"selection": (), "estimation": tallies[:made]}
        assert procedure.decide(looks, sigma=0.5) == certify_staged(
            [tally.counts for tally in tallies[:made]], **arguments(example)
        )
        assert not procedure.alarms(looks, sigma=0.5)


# --- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "change", "sentence"),
    [
        ([[40, 23]], {}, "schedule"),
        ([[40, 24], [80, 47]], {}, "schedule"),
        ([[80, 48]], {}, "schedule"),  # the first look is missing
        ([[40, 24], [39, 89]], {}, "does not continue"),
        ([[40, 24], [80, 40, 8]], {}, "does not continue"),
        ([[40, 20]], {"ambiguous": [3]}, "schedule"),
        ([[40, 20], [80, 45]], {"ambiguous": [4, 3]}, "does not continue"),
        ([[40, 20]], {"ambiguous": [4, 4]}, "numbers of ambiguous"),
        ([[40, 20]], {"ambiguous": [4.5]}, "whole"),
        ([[40.5, 23.5]], {}, "whole"),
        ([[65, -1]], {}, "negative"),
        ([[65, 0]], {"ambiguous": [-1]}, "negative"),
        ([[64]], {}, "two classes"),
        ([], {}, "0 looks"),
        ([[40, 24], [80, 48], [90, 54], [90, 54]], {"n_max": 144}, "3 are planned"),
        ([[40, 24]], {"n_max": 0}, "n_max"),
        ([[40, 24]], {"n_first": 0}, "n_first"),
        ([[40, 24]], {"alpha": 0.5}, "alpha"),
        ([[40, 24]], {"alpha": 0.0}, "alpha"),
        ([[40, 24]], {"alpha": math.nan}, "alpha"),
        ([[40, 24]], {"sigma": 0.0}, "sigma"),
        ([[40, 24]], {"sigma": math.inf}, "sigma"),
    ],
)
def test_looks_that_are_not_those_of_the_schedule_are_refused(looks, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        certify_staged(looks, **({"sigma": 0.5, "alpha": 0.001, "n_max": 1_000} | change))


@pytest.mark.parametrize("made", [(), (Tally(counts=(40, 23)),), (Tally(counts=(80, 48)),)])
def test_the_procedure_refuses_looks_that_it_did_not_ask_for(made):
    procedure = Staged(n_max=1_000, alpha=0.001, rule=StoppingRule())
    with pytest.raises(ValueError, match="look"):
        procedure.decide({"selection": (), "estimation": made}, sigma=0.5)


# --- Laws at a fixed look (CERTIFICATE 7.5) --------------------------------------------------


def radius_of(counts, *, ambiguous=0, sigma=0.5, alpha=0.001) -> float:
    tally = Tally(counts=tuple(counts), ambiguous=ambiguous)
    return judge_look(tally, sigma=sigma, alpha=alpha).radius or 0.0


@st.composite
def looks_with_a_winner(draw) -> list[int]:
    """Counts that mostly claim something, class 0 ahead."""
    others = draw(st.lists(st.integers(0, 400), min_size=1, max_size=5))
    return [max(others) + draw(st.integers(1, 2_000)), *others]


@given(counts=looks_with_a_winner(), ambiguous=st.integers(0, 40), more=st.integers(1, 50))
def test_the_radius_grows_with_votes_for_the_top_class(counts, ambiguous, more):
    grown = [counts[0] + more, *counts[1:]]
    assert radius_of(grown, ambiguous=ambiguous) >= radius_of(counts, ambiguous=ambiguous)


@given(counts=looks_with_a_winner(), moved=st.integers(1, 50), data=st.data())
def test_at_the_same_n_the_radius_falls_with_votes_for_another_class(counts, moved, data):
    place = data.draw(st.integers(1, len(counts) - 1))
    moved = min(moved, counts[0] - counts[place])
    shifted = list(counts)
    shifted[0], shifted[place] = counts[0] - moved, counts[place] + moved
    assert radius_of(shifted) <= radius_of(counts) + 1e-12


@given(counts=looks_with_a_winner(), ambiguous=st.integers(0, 40), more=st.integers(1, 50))
def test_further_votes_for_the_runner_up_lower_the_radius(counts, ambiguous, more):
    place = counts.index(max(counts[1:]), 1)
    more = min(more, counts[0] - counts[place])
    grown = list(counts)
    grown[place] += more
    assert radius_of(grown, ambiguous=ambiguous) <= radius_of(counts, ambiguous=ambiguous) + 1e-12


@given(counts=looks_with_a_winner(), doubtful=st.integers(0, 200), data=st.data())
def test_ambiguous_samples_never_raise_the_radius_whatever_they_would_have_voted(
    counts, doubtful, data
):
    """Path by path: any votes may be taken away and counted as ambiguous, R can only fall."""
    taken, left = [], doubtful
    for count in counts:
        taken.append(data.draw(st.integers(0, min(left, count))))
        left -= taken[-1]
    doubted = [count - away for count, away in zip(counts, taken, strict=True)]
    claim = judge_look(Tally(counts=tuple(doubted), ambiguous=sum(taken)), sigma=0.5, alpha=0.001)
    if claim.radius is not None:
        assert claim.top_class == counts.index(max(counts))
        assert claim.radius <= radius_of(counts) + 1e-12


@given(counts=looks_with_a_winner(), alpha=alphas, ambiguous=st.integers(0, 40))
def test_the_radius_falls_with_alpha(counts, alpha, ambiguous):
    strict = radius_of(counts, alpha=alpha / 2, ambiguous=ambiguous)
    assert strict <= radius_of(counts, alpha=alpha, ambiguous=ambiguous)


@given(counts=looks_with_a_winner(), sigma=st.floats(0.001, 10), ambiguous=st.integers(0, 40))
def test_the_radius_is_linear_in_sigma(counts, sigma, ambiguous):
    expected = 2 * sigma * radius_of(counts, ambiguous=ambiguous)
    assert radius_of(counts, sigma=sigma, ambiguous=ambiguous) == pytest.approx(expected, rel=1e-12)


@given(counts=looks_with_a_winner(), ambiguous=st.integers(0, 40), data=st.data())
def test_the_order_of_classes_changes_nothing_but_the_index(counts, ambiguous, data):
    order = data.draw(st.permutations(range(len(counts))))
    plain = judge_look(Tally(counts=tuple(counts), ambiguous=ambiguous), sigma=0.5, alpha=0.001)
    shuffled = Tally(counts=tuple(counts[i] for i in order), ambiguous=ambiguous)
    moved = judge_look(shuffled, sigma=0.5, alpha=0.001)
    assert order[moved.top_class] == plain.top_class
    assert moved == Claim(
        top_class=order.index(plain.top_class),
        p_a_lower=plain.p_a_lower,
        p_b_upper=plain.p_b_upper,
        rank_p=plain.rank_p,
        radius=plain.radius,
    )
