"""A schedule in parts: its sizes, its alpha, and that a part is a function of the votes alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification import Goal, Staged, StoppingRule, StopReason, Tally, plan_looks
from worker.certification.schedule import plan_parts
from worker.certification.staged import judge_look
from worker.certification.stopping import find_end

RULE = StoppingRule()
n_maxes = st.integers(1, 5000)
growths = st.floats(2, 40)


@given(st.integers(1, 10**6), st.floats(1e-9, 0.49))
def test_without_a_cap_there_is_one_part_on_the_schedule_of_before(n_max, alpha):
    schedule = plan_parts(alpha, n_max)
    assert schedule.looks == plan_looks(alpha, n_max)
    assert schedule.upto(0) == schedule.looks


@given(n_maxes, growths, st.floats(1e-9, 0.49))
def test_alpha_is_spent_once_over_all_looks_of_all_parts(n_max, growth, alpha):
    schedule = plan_parts(alpha, n_max, int(growth * n_max))
    assert sum(look.alpha for look in schedule.looks) == pytest.approx(alpha, rel=1e-12)
    ends = {schedule.looks[end - 1].alpha for end in schedule.ends}
    assert len(ends) == 1  # nobody gains by the part at which he stops


@given(n_maxes, growths)
def test_parts_end_at_n_max_then_at_its_doubles_and_at_the_cap(n_max, growth):
    n_cap = int(growth * n_max)
    schedule = plan_parts(0.001, n_max, n_cap)
    sizes = [schedule.looks[end - 1].n for end in schedule.ends]
    assert (sizes[0], sizes[-1]) == (n_max, n_cap)
    assert all(after == 2 * before for before, after in pairwise(sizes[:-1]))
    first = [look.n for look in schedule.upto(0)]
    assert first == [look.n for look in plan_looks(0.001, n_max)]


@pytest.mark.parametrize(("n_max", "n_cap"), [(1000, 1999), (1000, 0), (1000, 10**400), (0, 64)])
def test_a_cap_below_twice_n_max_or_no_size_at_all_is_refused(n_max, n_cap):
    with pytest.raises(ValueError, match="n_max"):
        plan_parts(0.001, n_max, n_cap)


def test_a_part_that_the_schedule_does_not_have_is_refused():
    with pytest.raises(ValueError, match="4 parts"):
        Staged(n_max=1000, alpha=0.001, rule=RULE, n_cap=8000, continuations=4)


def draw(law: tuple[float, ...], n_max: int, n_cap: int, seed: int) -> list[Tally]:
    """Votes at every look of the schedule."""
    sizes = [look.n for look in plan_parts(0.001, n_max, n_cap).looks]
    rng = np.random.default_rng(seed)
    added = [rng.multinomial(n, law) for n in np.diff([0, *sizes])]
    return [Tally(counts=tuple(row)) for row in np.cumsum(added, axis=0).tolist()]


def run(votes: list[Tally], procedure: Staged, made: tuple[Tally, ...] = ()) -> tuple[Tally, ...]:
    """The looks of one part, on from those made before."""
    while goals := procedure.find_goals({"selection": (), "estimation": made}, sigma=0.5):
        assert goals == (Goal(phase="estimation", n=votes[len(made)].n),)
        made = (*made, votes[len(made)])
    return made


def stage(part: int, rule: StoppingRule) -> Staged:
    return Staged(n_max=500, alpha=0.001, rule=rule, n_cap=8000, continuations=part)


rules = st.builds(
    StoppingRule,
    target_radius=st.none() | st.floats(0.05, 1.5),
    tolerance=st.sampled_from([0.0, 0.05, 0.5]),
    minimum_radius=st.none() | st.floats(0.01, 1.0),
)


@given(st.floats(0.5, 0.999), rules, st.integers(0, 99))
def test_going_on_part_by_part_is_counting_the_last_part_from_the_first_sample(p, rule, seed):
    """So a continuation whose stored votes are lost has the same certificate."""
    votes = draw((p, 0.7 * (1 - p), 0.3 * (1 - p)), 500, 8000, seed)
    made: tuple[Tally, ...] = ()
    for part in range(5):
        before, made = made, run(votes, stage(part, rule), made)
        assert made[: len(before)] == before
        assert made == run(votes, stage(part, rule))


@given(st.floats(0.5, 0.999), rules, st.integers(0, 99), st.integers(0, 4))
def test_the_end_of_a_part_is_found_from_its_votes_alone(p, rule, seed, part):
    """Later looks, which an audit may be shown, do not move it."""
    votes = draw((p, 0.7 * (1 - p), 0.3 * (1 - p)), 500, 8000, seed)
    procedure = stage(part, rule)
    made = run(votes, procedure)
    reason = procedure.find_reason({"selection": (), "estimation": made}, sigma=0.5)
    schedule = plan_parts(0.001, 500, 8000)
    claims = [
        judge_look(tally, sigma=0.5, alpha=look.alpha)
        for tally, look in zip(votes, schedule.looks, strict=True)
    ]
    for shown in (votes[: len(made)], votes):
        end = find_end(rule, shown, claims[: len(shown)], schedule, part=part, sigma=0.5)
        assert end == (len(made), reason)


def test_a_target_that_was_reached_takes_no_more_samples():
    votes = [Tally(counts=(n, 0)) for n in (64, 128, 256, 500, 1000)]
    rule = StoppingRule(target_radius=0.3)
    first = run(votes, stage(0, rule))
    assert run(votes, stage(1, rule), first) == first
    looks = {"selection": (), "estimation": first}
    assert stage(1, rule).find_reason(looks, sigma=0.5) == StopReason.TARGET_REACHED


def test_more_samples_claim_more_where_votes_are_alike():
    """And the price of going on is small against a request of that size from the start."""
    radii = [stage(part, RULE).largest_radius(3, sigma=1.0) for part in range(5)]
    assert radii == sorted(radii)
    at_once = Staged(n_max=8000, alpha=0.001, rule=RULE).largest_radius(3, sigma=1.0)
    assert 0.95 * at_once < radii[-1] < at_once
