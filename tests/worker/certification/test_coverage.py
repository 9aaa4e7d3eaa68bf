"""How often a staged certificate is false (CERTIFICATE 7.4): exactly where that can be computed, by
simulation elsewhere, at the boundary and at ties, under every stopping rule and jointly.

A claim is false when its class is not the likeliest, or its radius exceeds the true one; at a tie
every claim is false. `make test-coverage` sets PROMPTSMOOTH_COVERAGE=full, takes minutes and prints
its counts; `make test` runs the same laws on fewer cases.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom, norm

from worker.certification import (
    Abstained,
    Certified,
    Looks,
    Staged,
    StoppingRule,
    Tally,
    plan_looks,
)
from worker.certification.schedule import Look, plan_parts
from worker.certification.staged import judge_look
from worker.contract import CertifyRequest, InputImage, ModelRef, StagedParameters, TemplateTarget
from worker.counting.contests import create_procedure

FULL = os.environ.get("PROMPTSMOOTH_COVERAGE") == "full"
REPETITIONS = 200_000 if FULL else 20_000
ALPHA = 0.01  # of the simulations
Law = tuple[float, ...]
Tops = npt.NDArray[np.int64]
Radii = npt.NDArray[np.float64]
Votes = npt.NDArray[np.int64]
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a line past pytest's capture, in the full run only."""

    def write(line: str) -> None:
        if FULL:
            with capsys.disabled():
                sys.stdout.write(f"\n{line}")

    return write


def true_radius(law: Law) -> float:
    """R of the exact probabilities at sigma = 1, 0 at a tie; class 0 is the likeliest."""
    return float(norm.ppf(law[0]) - norm.ppf(max(law[1:]))) / 2


# --- Exactly, over all looks -----------------------------------------------------------------


@lru_cache
def claims_of_two(look: Look) -> tuple[Tops, Radii]:
    """Top class and radius at every count of class 0; -1 where nothing is claimed."""
    tops, radii = np.zeros(look.n + 1, dtype=np.int64), np.full(look.n + 1, -1.0)
    for k in range(look.n + 1):
        claim = judge_look(Tally(counts=(k, look.n - k)), sigma=1.0, alpha=look.alpha)
        tops[k] = claim.top_class
        radii[k] = -1.0 if claim.radius is None else claim.radius
    return tops, radii


@lru_cache
def claims_of_three(look: Look) -> tuple[Tops, Radii]:
    """The same at every pair of counts of classes 0 and 1. The two largest counts decide."""
    shape = (look.n + 1, look.n + 1)
    tops, radii = np.zeros(shape, dtype=np.int64), np.full(shape, -1.0)
    known: dict[tuple[int, int], float] = {}
    for one in range(look.n + 1):
        for two in range(look.n + 1 - one):
            counts = (one, two, look.n - one - two)
            low, middle, high = sorted(counts)
            if (high, middle) not in known:
                tally = Tally(counts=(high, middle, low))
                radius = judge_look(tally, sigma=1.0, alpha=look.alpha).radius
                known[high, middle] = -1.0 if radius is None else radius
            tops[one, two], radii[one, two] = counts.index(high), known[high, middle]
    return tops, radii


def are_false(tops: Tops, radii: Radii, law: Law) -> npt.NDArray[np.bool_]:
    """Which claims are false at sigma = 1; class 0 is the likeliest of the law."""
    too_large = radii > true_radius(law) + 1e-12
    return (radii >= 0) & (too_large | (tops != 0))


def exact_error_of_two(p: float, planned: Sequence[Look]) -> float:
    """P(some look makes a false claim) by dynamic programming over the count of one class."""
    alive, n, error = np.ones(1), 0, 0.0
    for look in planned:
        added = look.n - n
        alive = np.convolve(alive, binom.pmf(np.arange(added + 1), added, p))
        false = are_false(*claims_of_two(look), (p, 1 - p))
        error += float(alive[false].sum())
        alive[false], n = 0.0, look.n
    return error


def exact_error_of_three(law: Law, planned: Sequence[Look]) -> float:
    """The same over the counts of two classes out of three."""
    from scipy.signal import fftconvolve  # takes a second

    alive, n, error = np.ones((1, 1)), 0, 0.0
    for look in planned:
        alive = fftconvolve(alive, trinomial(look.n - n, law)).clip(min=0.0)
        false = are_false(*claims_of_three(look), law)
        error += float(alive[false].sum())
        alive[false], n = 0.0, look.n
    return error


def trinomial(n: int, law: Law) -> npt.NDArray[np.float64]:
    """P(counts of classes 0 and 1) in n samples, (n + 1, n + 1)."""
    first, second = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    given = binom.pmf(second, n - first, law[1] / (law[1] + law[2]))
    return np.asarray(binom.pmf(first, n, law[0]) * given)


def largest_error_of_two(planned: Sequence[Look]) -> tuple[float, float]:
    """The largest error over all p, and its p.

    The set of false claims changes only where p passes a bound that some look can claim; between
    two of them the error grows with p, but for claims of the other class, which are far rarer. So
    it is largest just below one of them.
    """
    radii = np.concatenate([claims_of_two(look)[1] for look in planned])
    below = norm.cdf(np.unique(radii[radii > 0])) - 1e-9
    return max((exact_error_of_two(p, planned), p) for p in below if p > 0.5)


# n_max, p of class 0, error / alpha at alpha = 0.001. Frozen: a lost factor 2 moves them.
EXACT_TWO = [
    (64, 0.5, 0.007069488),
    (64, 0.6, 0.664880272),
    (142, 0.5, 0.013646843),
    (142, 0.75, 0.610008807),
    (150, 0.9, 0.22475267),
    (600, 0.5, 0.014906312),
    (600, 0.6, 0.660431306),
    (600, 0.95, 0.380665219),
]


@pytest.mark.parametrize(("n_max", "p", "expected"), EXACT_TWO)
def test_the_exact_error_of_two_classes_is_the_frozen_one(n_max, p, expected, say):
    error = exact_error_of_two(p, plan_looks(0.001, n_max)) / 0.001
    say(f"exact, K = 2, alpha 0.001, n_max {n_max}, p {p}: error {error:.4f} alpha")
    assert error == pytest.approx(expected, rel=1e-6)
    assert error < 1


EVERY_P = [(0.001, 64), (0.001, 142), (0.001, 600)]
if FULL:
    sizes = (64, 72, 100, 128, 142, 143, 200, 256, 300, 400, 512, 600, 1000)
    EVERY_P = [(alpha, n_max) for alpha in (0.001, 0.01) for n_max in sizes]


@pytest.mark.parametrize(("alpha", "n_max"), EVERY_P)
def test_the_exact_error_of_two_classes_is_below_alpha_at_every_p(alpha, n_max, say):
    """One look has 0.98 alpha for its bound; several looks overlap and need not reach that."""
    planned = plan_looks(alpha, n_max)
    error, p = largest_error_of_two(planned)
    looks = len(planned)
    say(
        f"exact, K = 2, alpha {alpha}, n_max {n_max}, {looks} looks: "
        f"at most {error / alpha:.4f} alpha over all p, at p = {p:.5f}"
    )
    assert 0.6 * alpha <= error <= alpha  # no more than alpha, and not given away either


THIRD = 1 / 3
EXACT_THREE = [
    (64, (THIRD, THIRD, THIRD), 3.8577e-05),
    (64, (0.5, 0.25, 0.25), 0.002362278),
    (150, (THIRD, THIRD, THIRD), 4.8199e-05),
    (150, (0.45, 0.45, 0.1), 0.010932228),
    (150, (0.6, 0.3, 0.1), 0.110535907),
    (150, (0.9, 0.08, 0.02), 0.081783789),
]


@pytest.mark.parametrize(("n_max", "law", "expected"), EXACT_THREE)
def test_the_exact_error_of_three_classes_is_the_frozen_one(n_max, law, expected, say):
    error = exact_error_of_three(law, plan_looks(0.001, n_max)) / 0.001
    say(f"exact, K = 3, alpha 0.001, n_max {n_max}, p {law}: error {error:.6f} alpha")
    assert error == pytest.approx(expected, rel=1e-4)
    assert error < 1


@pytest.mark.parametrize("n_max", [64, 142, 300, 600] if FULL else [142])
def test_the_exact_error_of_three_classes_is_below_half_of_alpha_on_a_grid(n_max, say):
    """Each of two bounds has 0.49 alpha, and one that is slightly wrong is not enough."""
    tops = np.arange(0.35, 0.99, 0.01 if FULL else 0.05)
    laws = [
        (p, share * (1 - p), (1 - share) * (1 - p))
        for p in tops.tolist()
        for share in (0.5, 0.7, 0.9, 0.99, 0.99999)
        if share * (1 - p) <= p
    ]
    planned = plan_looks(0.001, n_max)
    error, law = max((exact_error_of_three(law, planned) / 0.001, law) for law in laws)
    say(
        f"exact, K = 3, alpha 0.001, n_max {n_max}: at most {error:.4f} alpha over {len(laws)} "
        f"laws, at p = {tuple(round(p, 5) for p in law)}"
    )
    assert error <= 0.5


# --- Exactly, over all continuations ---------------------------------------------------------

# A certificate says the largest claim of its looks. So whoever decides after each look whether to
# go on, and shows whichever certificate he likes, shows a false one at most where some look of the
# whole schedule claims falsely: that is the error here.

PARTS = [(0.001, 64, 300), (0.001, 100, 600)]
if FULL:
    caps = [(64, 128), (64, 300), (64, 1000), (100, 600), (150, 600), (300, 600), (200, 1000)]
    PARTS = [(alpha, *each) for alpha in (0.001, 0.01) for each in caps]


@pytest.mark.parametrize(("alpha", "n_max", "n_cap"), PARTS)
def test_the_exact_error_over_all_continuations_is_below_alpha_at_every_p(alpha, n_max, n_cap, say):
    schedule = plan_parts(alpha, n_max, n_cap)
    assert sum(look.alpha for look in schedule.looks) == pytest.approx(alpha, rel=1e-12)
    error, p = largest_error_of_two(schedule.looks)
    say(
        f"exact, K = 2, alpha {alpha}, n_max {n_max}, n_cap {n_cap}, {len(schedule.ends)} parts: "
        f"at most {error / alpha:.4f} alpha over all p and continuations, at p = {p:.5f}"
    )
    assert 0.3 * alpha <= error <= alpha


# n_max, n_cap, law, error / alpha at alpha = 0.001. Frozen: a lost factor 2 moves them.
EXACT_PARTS: list[tuple[int, int, Law, float]] = [
    (64, 300, (0.5, 0.5), 0.0137901656),
    (64, 300, (0.75, 0.25), 0.518938509),
    (100, 600, (0.6, 0.4), 0.557724936),
    (100, 600, (0.9, 0.1), 0.233995292),
    (64, 150, (THIRD, THIRD, THIRD), 3.00706316e-05),
    (64, 150, (0.6, 0.3, 0.1), 0.11022285),
]


@pytest.mark.parametrize(("n_max", "n_cap", "law", "expected"), EXACT_PARTS)
def test_the_exact_error_over_all_continuations_is_the_frozen_one(n_max, n_cap, law, expected, say):
    planned = plan_parts(0.001, n_max, n_cap).looks
    of_two = exact_error_of_two(law[0], planned) if len(law) == 2 else None
    error = (exact_error_of_three(law, planned) if of_two is None else of_two) / 0.001
    say(f"exact, alpha 0.001, n_max {n_max}, n_cap {n_cap}, p {law}: error {error:.6f} alpha")
    assert error == pytest.approx(expected, rel=1e-4)
    assert error < 1


# --- By simulation ---------------------------------------------------------------------------


def sample_votes(law: Law, planned: Sequence[Look], rng: np.random.Generator) -> Votes:
    """Cumulative counts of many runs at every look, (looks, REPETITIONS, num_classes)."""
    added = np.diff([0, *(look.n for look in planned)])
    return np.cumsum([rng.multinomial(n, law, size=REPETITIONS) for n in added], axis=0)


def find_false(votes: Votes, look: Look, law: Law) -> npt.NDArray[np.bool_]:
    """Which runs make a false claim at one look, (REPETITIONS,). Equal counts are judged once."""
    rows, places = np.unique(votes, axis=0, return_inverse=True)
    claims = [
        judge_look(Tally(counts=tuple(row)), sigma=1.0, alpha=look.alpha) for row in rows.tolist()
    ]
    tops = np.array([claim.top_class for claim in claims])
    radii = np.array([-1.0 if claim.radius is None else claim.radius for claim in claims])
    return are_false(tops, radii, law)[places]


def replay(votes: Votes, procedure: Staged) -> Certified | Abstained:
    """One run, (looks, num_classes), through the procedure as the service runs it."""
    looks: Looks = {"selection": (), "estimation": ()}
    while goals := procedure.find_goals(looks, sigma=1.0):
        made = looks["estimation"]
        tally = Tally(counts=tuple(votes[len(made)].tolist()))
        assert [goal.n for goal in goals] == [tally.n]
        looks = {"selection": (), "estimation": (*made, tally)}
    return procedure.decide(looks, sigma=1.0)


def create_rules(law: Law) -> dict[str, StoppingRule]:
    """Every stopping rule; the targets ask for what is just false, and for anything at all."""
    return {
        "tolerance": StoppingRule(),
        "wide tolerance": StoppingRule(tolerance=0.5),
        "futility": StoppingRule(tolerance=0.0, minimum_radius=true_radius(law) + 0.3),
        "target, just false": StoppingRule(target_radius=true_radius(law) + 1e-3),
        "target, any radius": StoppingRule(target_radius=1e-6),
    }


LAWS: list[Law] = [
    (0.5, 0.5),
    (THIRD, THIRD, THIRD),
    (0.6, 0.4),
    (0.2,) * 5,
    (0.6, 0.3, 0.1),
]


def most_allowed(alpha: float) -> float:
    """alpha and four standard errors of its estimate."""
    return alpha + 4 * (alpha * (1 - alpha) / REPETITIONS) ** 0.5


@pytest.mark.parametrize("n_max", [1_000, 10_000] if FULL else [600])
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_false_claims_are_rarer_than_alpha_under_every_stopping_rule(law, n_max, say):
    """A result is one of the looks' claims, so only runs with a false look need to be replayed."""
    planned = plan_looks(ALPHA, n_max)
    votes = sample_votes(law, planned, np.random.default_rng(3))
    at_looks = [
        find_false(at_look, look, law) for at_look, look in zip(votes, planned, strict=True)
    ]
    suspects = np.flatnonzero(np.any(at_looks, axis=0))
    false = {"every look": len(suspects)}
    for name, rule in create_rules(law).items():
        procedure = Staged(n_max=n_max, alpha=ALPHA, rule=rule)
        outcomes = (replay(votes[:, run], procedure) for run in suspects.tolist())
        false[name] = sum(is_false(outcome, law) for outcome in outcomes)
    for name, times in false.items():
        say(
            f"simulated, p {tuple(round(p, 3) for p in law)}, n_max {n_max}, {name}: {times} false "
            f"claims in {REPETITIONS} runs, {times / REPETITIONS / ALPHA:.4f} alpha"
        )
        assert times / REPETITIONS <= most_allowed(ALPHA)


def replay_parts(votes: Votes, n_cap: int, procedure: Staged) -> list[Certified | Abstained]:
    """One run, (looks, num_classes): the outcome after each part, all the way to the cap."""
    made: tuple[Tally, ...] = ()
    outcomes = []
    for part in range(len(plan_parts(procedure.alpha, procedure.n_max, n_cap).ends)):
        going_on = replace(procedure, n_cap=n_cap, continuations=part)
        looks: Looks = {"selection": (), "estimation": made}
        while goals := going_on.find_goals(looks, sigma=1.0):
            tally = Tally(counts=tuple(votes[len(made)].tolist()))
            assert [goal.n for goal in goals] == [tally.n]
            made = (*made, tally)
            looks = {"selection": (), "estimation": made}
        outcomes.append(going_on.decide(looks, sigma=1.0))
    return outcomes


@pytest.mark.parametrize(("n_max", "n_cap"), [(600, 9_600)] if FULL else [(100, 600)])
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_who_decides_when_to_go_on_shows_a_false_claim_no_oftener_than_alpha(
    law, n_max, n_cap, say
):
    """The adversary stops as soon as the certificate is false, and goes on to the cap otherwise."""
    planned = plan_parts(ALPHA, n_max, n_cap).looks
    votes = sample_votes(law, planned, np.random.default_rng(6))
    at_looks = [
        find_false(at_look, look, law) for at_look, look in zip(votes, planned, strict=True)
    ]
    suspects = np.flatnonzero(np.any(at_looks, axis=0))
    false = {"every look": len(suspects)}
    for name, rule in create_rules(law).items():
        procedure = Staged(n_max=n_max, alpha=ALPHA, rule=rule)
        runs = (replay_parts(votes[:, run], n_cap, procedure) for run in suspects.tolist())
        false[name] = sum(any(is_false(one, law) for one in outcomes) for outcomes in runs)
    for name, times in false.items():
        say(
            f"simulated, p {tuple(round(p, 3) for p in law)}, n_max {n_max}, n_cap {n_cap}, going "
            f"on by choice, {name}: {times} false claims in {REPETITIONS} runs, "
            f"{times / REPETITIONS / ALPHA:.4f} alpha"
        )
        assert times / REPETITIONS <= most_allowed(ALPHA)


def is_false(outcome: Certified | Abstained, law: Law) -> bool:
    return isinstance(outcome, Certified) and bool(
        are_false(np.array([outcome.top_class]), np.array([outcome.radius]), law)[0]
    )


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_run_without_a_false_look_has_no_false_result(law):
    """What the law before this one relies on, for runs that it does not replay."""
    planned = plan_looks(ALPHA, 600)
    votes = sample_votes(law, planned, np.random.default_rng(4))[:, :200]
    clean = ~np.any([find_false(v, k, law) for v, k in zip(votes, planned, strict=True)], axis=0)
    for rule in create_rules(law).values():
        procedure = Staged(n_max=600, alpha=ALPHA, rule=rule)
        for run in np.flatnonzero(clean).tolist():
            assert not is_false(replay(votes[:, run], procedure), law)


# --- Jointly ---------------------------------------------------------------------------------

JOINT_CUTS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Certificate i votes for class 0 where the shared noise, uniform, lies below its cut."""


def create_joint_request(n_max: int) -> CertifyRequest:
    """As many label sets as there are cuts, all to hold together at ALPHA."""
    names = [(f"one {place}", f"other {place}") for place in range(len(JOINT_CUTS))]
    return CertifyRequest(
        input=InputImage(sha256="0" * 64, height=8, width=8, source="png"),
        model=ModelRef(id="none", sha256="0" * 64),
        targets=tuple(TemplateTarget(template="{}", class_names=both) for both in names),
        sigmas=(Decimal(1),),
        procedure=StagedParameters(n_max=n_max),
        alpha=Decimal(str(ALPHA)),
        joint=True,
    )


def test_joint_certificates_that_share_noise_are_all_true_but_for_alpha(say):
    n_max = 1_000
    procedure = create_procedure(create_joint_request(n_max))
    assert isinstance(procedure, Staged)
    assert procedure.alpha == pytest.approx(ALPHA / len(JOINT_CUTS), rel=1e-12)
    planned = plan_looks(procedure.alpha, n_max)
    cells = tuple(np.diff([0.0, *JOINT_CUTS, 1.0]).tolist())
    below = np.cumsum(sample_votes(cells, planned, np.random.default_rng(5)), axis=2)
    any_false = np.zeros(REPETITIONS, dtype=bool)
    for place, cut in enumerate(JOINT_CUTS):
        law = (max(cut, 1 - cut), min(cut, 1 - cut))
        one = np.zeros(REPETITIONS, dtype=bool)
        for at_look, look in zip(below[:, :, place], planned, strict=True):
            likeliest = at_look if cut >= 0.5 else look.n - at_look
            one |= find_false(np.stack([likeliest, look.n - likeliest], axis=1), look, law)
        say(f"joint, p {law[0]}: {one.sum()} false claims in {REPETITIONS} runs at alpha / 5")
        any_false |= one
    share = any_false.mean()
    say(f"joint, any of 5: {any_false.sum()} in {REPETITIONS} runs, {share / ALPHA:.4f} alpha")
    assert 0 < share <= most_allowed(ALPHA)
