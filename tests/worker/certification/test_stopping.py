"""Each reason to stop with known answers, and what stopping saves (CERTIFICATE 3)."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import (
    Certified,
    Goal,
    Looks,
    Staged,
    StoppingRule,
    StopReason,
    Tally,
    plan_looks,
    rounded_down,
)
from worker.certification.staged import Look, judge_look

Counts = Sequence[int]


def looks_of(votes: Sequence[Counts]) -> Looks:
    return {"selection": (), "estimation": tuple(Tally(counts=tuple(c)) for c in votes)}


def reason(
    *votes: Counts, n_max: int = 1_000, sigma: float = 1.0, alpha: float = 0.001, **rule: float
) -> StopReason | None:
    procedure = Staged(n_max=n_max, alpha=alpha, rule=StoppingRule(**rule))
    return procedure.find_reason(looks_of(votes), sigma=sigma)


def at_every_look(law: Sequence[float], n_max: int, made: int) -> list[list[int]]:
    """Counts in exactly these proportions, rounded down, the remainder for the last class."""
    sizes = [look.n for look in plan_looks(0.001, n_max)][:made]
    heads = [[int(n * p + 1e-9) for p in law[:-1]] for n in sizes]
    return [[*head, n - sum(head)] for n, head in zip(sizes, heads, strict=True)]


# --- Each reason -----------------------------------------------------------------------------


def test_a_target_is_reached_when_the_document_s_radius_is_no_less():
    look = plan_looks(0.001, 1_000)[0]
    radius = judge_look(Tally(counts=(60, 4)), sigma=1.0, alpha=look.alpha).radius
    shown = rounded_down(radius)
    assert float(shown) < radius
    assert reason((60, 4), target_radius=float(shown)) is StopReason.TARGET_REACHED
    assert reason((60, 4), target_radius=radius) is None  # the document would say less
    assert reason((60, 4), target_radius=float(shown) + 1e-6) is None


def test_an_early_claim_may_reach_the_target_that_a_later_look_misses():
    first = judge_look(Tally(counts=(64, 0)), sigma=1.0, alpha=plan_looks(0.001, 1_000)[0].alpha)
    target = float(rounded_down(first.radius))
    assert reason((64, 0), (100, 28), target_radius=target) is StopReason.TARGET_REACHED


@pytest.mark.parametrize("counts", [(64, 0), (32, 32), (0, 64), (30, 17, 17)])
def test_the_last_look_is_the_last_whatever_it_shows(counts):
    assert reason(counts, n_max=64) is StopReason.N_MAX_REACHED
    assert reason(counts, n_max=64, target_radius=5.0) is StopReason.N_MAX_REACHED


def test_a_target_reached_at_the_last_look_is_reached():
    assert reason((64, 0), n_max=64, target_radius=0.5) is StopReason.TARGET_REACHED


def test_tolerance_ends_at_the_first_look_within_it_of_n_max():
    """p = 0.9, n_max = 10,000: 4096 samples give 96.2 % of the radius, 2048 give 93 %."""
    looks = at_every_look((0.9, 0.1), 10_000, 7)
    assert [look[0] + look[1] for look in looks][-2:] == [2_048, 4_096]
    assert reason(*looks[:6], n_max=10_000) is None
    assert reason(*looks, n_max=10_000) is StopReason.TOLERANCE_REACHED
    assert reason(*looks[:6], n_max=10_000, tolerance=0.08) is StopReason.TOLERANCE_REACHED
    assert reason(*looks, n_max=10_000, tolerance=0.0) is None


def test_tolerance_is_the_share_of_the_radius_predicted_for_n_max():
    looks = at_every_look((0.9, 0.1), 10_000, 7)
    *early, last = plan_looks(0.001, 10_000)
    radius = judge_look(Tally(counts=tuple(looks[-1])), sigma=1.0, alpha=early[6].alpha).radius
    scaled = Tally(counts=(8_999, 1_001))  # 3686 of 4096
    predicted = judge_look(scaled, sigma=1.0, alpha=last.alpha).radius
    share = radius / predicted
    assert reason(*looks, n_max=10_000, tolerance=1 - share + 5e-4) is StopReason.TOLERANCE_REACHED
    assert reason(*looks, n_max=10_000, tolerance=1 - share - 5e-4) is None


def test_with_a_target_only_the_target_counts():
    """0.96 of what n_max gives is enough for nobody who asked for more than that."""
    looks = at_every_look((0.9, 0.1), 10_000, 7)
    assert reason(*looks, n_max=10_000, target_radius=1.23) is None


def test_a_tie_becomes_futile_when_not_even_the_minimum_is_in_reach():
    looks = at_every_look((0.5, 0.5), 10_000, 8)
    first = [reason(*looks[: i + 1], n_max=10_000) for i in range(len(looks))]
    assert first[:5] == [None] * 5
    assert first[5:] == [StopReason.FUTILE] * 3
    assert reason(*looks[:2], n_max=10_000, minimum_radius=0.2) is None
    assert reason(*looks[:3], n_max=10_000, minimum_radius=0.2) is StopReason.FUTILE


def test_a_target_out_of_reach_is_given_up():
    """p = 0.7 and a target of 1 sigma, which takes p = 0.84."""
    looks = at_every_look((0.7, 0.3), 10_000, 2)
    assert reason(*looks, n_max=10_000, target_radius=1.0) is StopReason.FUTILE
    assert reason(*looks, n_max=10_000, target_radius=0.5) is None


def test_more_than_n_max_can_ever_give_is_given_up_at_once():
    """3.17 sigma is what 10,000 unanimous votes certify."""
    assert reason((64, 0), n_max=10_000, target_radius=3.16) is None
    assert reason((64, 0), n_max=10_000, target_radius=3.18) is StopReason.FUTILE


def test_futility_grants_three_classes_the_even_split_of_the_rest():
    """Upper bound u on half of 64 votes at 0.05/9/2; the rest may be split evenly."""
    from worker.certification import upper_confidence_bound

    planned = plan_looks(0.001, 10_000)
    top = int(10_000 * upper_confidence_bound(32, 64, 0.05 / len(planned) / 2)) + 1
    rest = 10_000 - top
    even = Tally(counts=(top, rest - rest // 2, rest // 2))
    reachable = judge_look(even, sigma=1.0, alpha=planned[-1].alpha).radius
    for target, expected in ((reachable - 1e-4, None), (reachable + 1e-4, StopReason.FUTILE)):
        assert reason((32, 16, 16), n_max=10_000, target_radius=target) is expected


def test_futility_counts_the_runner_up_at_its_lower_bound():
    """Two of nine classes share nearly all votes: no even split of the rest can be hoped for."""
    votes = [[1_100, 900, 8, 8, 8, 8, 8, 8, 0]]
    looks = [[n * c // 2_048 for c in votes[0]] for n in (64, 128, 256, 512, 1_024, 2_048)]
    for look, n in zip(looks, (64, 128, 256, 512, 1_024, 2_048), strict=True):
        look[0] += n - sum(look)
    assert reason(*looks, n_max=10_000, target_radius=0.3) is StopReason.FUTILE
    spread = [[look[0], *[(sum(look) - look[0]) // 8] * 8] for look in looks]
    for look, n in zip(spread, (64, 128, 256, 512, 1_024, 2_048), strict=True):
        look[1] += n - sum(look)
    assert reason(*spread, n_max=10_000, target_radius=0.3) is StopReason.TARGET_REACHED


def test_contradicting_claims_end_the_looks_and_no_other_reason_hides_them():
    looks = [(64, 0), (64, 64), (64, 192)]
    assert reason(*looks[:2], n_max=10_000, tolerance=0.0) is None
    for target in (None, 0.1, 5.0):
        rule = {} if target is None else {"target_radius": target}
        assert reason(*looks, n_max=10_000, **rule) is StopReason.CONTRADICTION


# --- Laws ------------------------------------------------------------------------------------

laws = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5).map(
    lambda weights: tuple(w / sum(weights) for w in weights)
)
rules = st.builds(
    StoppingRule,
    target_radius=st.none() | st.floats(0.01, 4.0),
    tolerance=st.floats(0.0, 0.9),
    minimum_radius=st.none() | st.floats(0.001, 1.0),
)


def run(procedure: Staged, votes: Sequence[Counts], sigma: float = 1.0) -> Looks:
    """The looks that the procedure asks for, over votes at every look of its schedule."""
    planned = plan_looks(procedure.alpha, procedure.n_max)
    looks = looks_of([])
    while goals := procedure.find_goals(looks, sigma=sigma):
        made = len(looks["estimation"])
        assert goals == (Goal(phase="estimation", n=planned[made].n),)
        looks = looks_of(votes[: made + 1])
    return looks


def draw_votes(
    law: Sequence[float], planned: Sequence[Look], seed: int | np.random.Generator
) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    added = np.diff([0, *(look.n for look in planned)])
    return np.cumsum([rng.multinomial(n, law) for n in added], axis=0).tolist()


@given(law=laws, rule=rules, n_max=st.integers(1, 5_000), seed=st.integers(0, 2**32 - 1))
def test_looks_are_the_schedule_s_first_and_the_last_has_a_reason(law, rule, n_max, seed):
    procedure = Staged(n_max=n_max, alpha=0.001, rule=rule)
    votes = draw_votes(law, plan_looks(0.001, n_max), seed)
    looks = run(procedure, votes)
    made = looks["estimation"]
    assert 1 <= len(made) <= len(votes)
    assert made[-1].n <= procedure.planned["estimation"][-1] == n_max
    assert procedure.find_goals(looks, sigma=1.0) == ()
    why = procedure.find_reason(looks, sigma=1.0)
    assert why is not None
    assert (why is StopReason.N_MAX_REACHED) <= (len(made) == len(votes))
    for earlier in range(1, len(made)):
        assert procedure.find_reason(looks_of(votes[:earlier]), sigma=1.0) is None


@given(law=laws, rule=rules, n_max=st.integers(64, 5_000), seed=st.integers(0, 2**32 - 1))
def test_the_reason_fits_the_outcome(law, rule, n_max, seed):
    """Futility never claims what was asked for, and a target is reached where it says so."""
    procedure = Staged(n_max=n_max, alpha=0.001, rule=rule)
    looks = run(procedure, draw_votes(law, plan_looks(0.001, n_max), seed))
    outcome = procedure.decide(looks, sigma=1.0)
    shown = float(rounded_down(outcome.radius)) if isinstance(outcome, Certified) else 0.0
    match procedure.find_reason(looks, sigma=1.0):
        case StopReason.TARGET_REACHED:
            assert shown >= rule.target_radius
        case StopReason.TOLERANCE_REACHED:
            assert rule.target_radius is None
            assert isinstance(outcome, Certified)
        case StopReason.FUTILE:
            assert shown < (rule.target_radius or rule.minimum_radius or 0.05)
        case StopReason.CONTRADICTION:
            assert not isinstance(outcome, Certified)


@given(law=laws, rule=rules, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_reasons_depend_on_looks_alone_not_on_class_order(law, rule, seed, data):
    procedure = Staged(n_max=2_000, alpha=0.001, rule=rule)
    votes = draw_votes(law, plan_looks(0.001, 2_000), seed)
    order = data.draw(st.permutations(range(len(law))))
    moved = [[look[i] for i in order] for look in votes]
    made = run(procedure, votes)["estimation"]
    assert run(procedure, votes)["estimation"] == made
    assert len(run(procedure, moved)["estimation"]) == len(made)


def test_a_claim_that_later_looks_do_not_bear_out_is_no_reason_to_stop():
    """It may be contradicted yet, and an abstention with an alarm is better than a false claim."""
    lucky, tie, other, claimed = (64, 0), (66, 62), (110, 146), (164, 348)
    assert reason(lucky, n_max=10_000) is None
    assert reason(lucky, tie, n_max=10_000) is None  # n_max would claim nothing
    assert reason(lucky, tie, other, n_max=10_000) is None  # n_max would claim another class
    found = reason(lucky, tie, other, claimed, n_max=10_000)
    assert found is StopReason.CONTRADICTION


def test_a_claim_of_the_minimum_is_not_given_up():
    """The first look claims 1 sigma; a tie that follows leaves less than 0.2 in reach."""
    looks = [(64, 0), (66, 62), (130, 126), (258, 254)]
    assert reason(*looks, n_max=10_000, minimum_radius=0.2) is None
    without = [(40, 24), *looks[1:]]
    assert reason(*without, n_max=10_000, minimum_radius=0.2) is StopReason.FUTILE


def test_the_minimum_is_a_twentieth_of_sigma_unless_named():
    for sigma in (0.1, 1.0, 4.0):
        looks = at_every_look((0.5, 0.5), 10_000, 6)
        assert reason(*looks, n_max=10_000, sigma=sigma) is StopReason.FUTILE
        assert reason(*looks[:5], n_max=10_000, sigma=sigma) is None
        named = reason(*looks[:5], n_max=10_000, sigma=sigma, minimum_radius=0.1 * sigma)
        assert named is StopReason.FUTILE


@given(law=laws, seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.125, 0.25, 0.5, 4.0]))
def test_only_radii_over_sigma_matter(law, seed, factor):
    votes = draw_votes(law, plan_looks(0.001, 2_000), seed)
    plain = Staged(n_max=2_000, alpha=0.001, rule=StoppingRule(minimum_radius=0.3))
    scaled = Staged(n_max=2_000, alpha=0.001, rule=StoppingRule(minimum_radius=0.3 * factor))
    assert run(plain, votes, 1.0) == run(scaled, votes, factor)


@given(law=laws, target=st.floats(0.05, 3.0), seed=st.integers(0, 2**32 - 1))
def test_what_is_out_of_reach_leaves_all_that_is_larger_out_of_reach(law, target, seed):
    planned = plan_looks(0.001, 2_000)
    votes = draw_votes(law, planned, seed)
    for made in range(1, len(planned)):
        asked = [reason(*votes[:made], n_max=2_000, target_radius=t) for t in (target, 2 * target)]
        assert (asked[0] is StopReason.FUTILE) <= (asked[1] is StopReason.FUTILE)


def test_a_reachable_target_is_rarely_given_up():
    """0.05 over all looks is futility's share; fixed seeds, 4 standard errors."""
    runs = 400
    for law, target in [((0.75, 0.25), 0.62), ((0.5, 0.25, 0.25), 0.3), ((0.6, *[0.05] * 8), 0.8)]:
        planned = plan_looks(0.001, 10_000)
        procedure = Staged(n_max=10_000, alpha=0.001, rule=StoppingRule(target_radius=target))
        given_up = 0
        for seed in range(runs):
            votes = draw_votes(law, planned, seed)
            looks = run(procedure, votes)
            if procedure.find_reason(looks, sigma=1.0) is StopReason.FUTILE:
                whole = procedure.decide(looks_of(votes), sigma=1.0)
                given_up += isinstance(whole, Certified) and whole.radius >= target
        assert given_up / runs <= 0.05 + 4 * (0.05 * 0.95 / runs) ** 0.5


# --- What it buys ----------------------------------------------------------------------------


def mean_samples(
    law: Sequence[float], n_max: int, rule: StoppingRule, *, runs: int
) -> tuple[float, Counter[StopReason]]:
    """Mean samples at sigma = 1 and alpha = 0.001, and why the looks ended. Fixed seed."""
    procedure = Staged(n_max=n_max, alpha=0.001, rule=rule)
    planned = plan_looks(0.001, n_max)
    rng = np.random.default_rng(8)
    samples, reasons = 0, Counter[StopReason]()
    for _ in range(runs):
        looks = run(procedure, draw_votes(law, planned, rng))
        samples += looks["estimation"][-1].n
        reasons[procedure.find_reason(looks, sigma=1.0)] += 1
    return samples / runs, reasons


@pytest.mark.parametrize(
    ("p", "target", "expected", "band", "ending"),
    [
        (0.9, 1e-6, 65, 1, StopReason.TARGET_REACHED),  # "any radius"
        (0.6, 1e-6, 900, 50, StopReason.TARGET_REACHED),
        (0.9, 1.0, 816, 50, StopReason.TARGET_REACHED),
        (0.99, 1.0, 95, 4, StopReason.TARGET_REACHED),
        (0.7, 1.0, 108, 10, StopReason.FUTILE),
    ],
)
def test_expected_samples_of_a_question_are_those_of_the_design(p, target, expected, band, ending):
    """n_max = 100,000, K = 2, where `cohen` takes 100,100. Bands: about 4 standard errors."""
    rule = StoppingRule(target_radius=target)
    mean, reasons = mean_samples((p, 1 - p), 100_000, rule, runs=1_000)
    assert mean == pytest.approx(expected, abs=band)
    assert set(reasons) == {ending}


def test_near_the_boundary_of_the_question_nothing_helps():
    """R = 1 sigma at p = 0.845: 1.1 times fewer."""
    mean, _ = mean_samples((0.845, 0.155), 100_000, StoppingRule(target_radius=1.0), runs=100)
    assert 100_100 / mean == pytest.approx(1.1, abs=0.05)


@pytest.mark.parametrize(
    ("p", "n_max", "lowest", "highest"),
    [
        (0.9, 10_000, 2.3, 2.6),
        (0.95, 10_000, 2.3, 2.6),
        (0.8, 100_000, 6.0, 6.6),
        (0.9, 100_000, 11.5, 12.5),
        (0.99, 100_000, 6.0, 6.6),
    ],
)
def test_the_default_tolerance_saves_what_the_design_says(p, n_max, lowest, highest):
    mean, reasons = mean_samples((p, 1 - p), n_max, StoppingRule(), runs=60)
    assert lowest <= (100 + n_max) / mean <= highest
    assert set(reasons) == {StopReason.TOLERANCE_REACHED}
