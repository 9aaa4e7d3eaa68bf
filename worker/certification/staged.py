"""The staged procedure: looks at growing prefixes of one sample, each sound on its own (`staged`).

At look j, with error budget alpha_j, the top class A has k votes and every other class at most
b = (largest other count) + (ambiguous samples):

1. rank check: A is the true winner unless min(1, 2 P(Bin(k + b, 1/2) >= k)) > 0.02 alpha_j
   (Hung and Fithian, Annals of Statistics 2019);
2. bounds: Clopper-Pearson at 0.49 alpha_j from below for A and from above for the runner-up (two
   classes: 0.98 alpha_j and p_B = 1 - p_A). The largest other count is at least the true
   runner-up's, and the upper bound increases with the count, so no correction over classes is
   needed (Voracek, NeurIPS 2024, appendix B);
3. R_j = sigma/2 (Phi^-1(p_A) - Phi^-1(p_B)).

The union bound over all planned looks makes every claim of every look hold together with
probability at least 1 - alpha, whatever stops the sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from scipy.special import betainc

from worker.certification.bounds import (
    l2_radius,
    lower_confidence_bound,
    require_alpha,
    require_sigma,
    upper_confidence_bound,
)
from worker.certification.certificate import Abstained, Certified
from worker.certification.tally import Tally, parse_counts, parse_whole

N_FIRST = 64
_N_LIMIT = 10**12
_LAST_LOOK_FROM = 0.9  # a doubling this near to n_max is left out
_RANK_SHARE, _BOUND_SHARE, _BOUND_SHARE_TWO_CLASSES = 0.02, 0.49, 0.98
_NUMERICAL_MARGIN = 1e-9


@dataclass(frozen=True, kw_only=True)
class Look:
    """A planned look: cumulative samples, and its share of alpha."""

    n: int
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one look shows. `radius` is None where it claims nothing."""

    top_class: int
    p_a_lower: float
    p_b_upper: float
    rank_p: float
    radius: float | None


@lru_cache(maxsize=256)
def plan_looks(alpha: float, n_max: int, n_first: int = N_FIRST) -> tuple[Look, ...]:
    """The schedule: n_first doubled while below 0.9 n_max, then n_max.

    The last look has half of alpha, the others share the other half equally; a single look has
    all of it.
    """
    require_alpha(alpha)
    for n in (n_max, n_first):
        if not isinstance(n, int) or not 1 <= n <= _N_LIMIT:
            raise ValueError(f"n_max and n_first must be whole numbers from 1 to {_N_LIMIT}")
    sizes = []
    n = n_first
    while n < _LAST_LOOK_FROM * n_max:
        sizes.append(n)
        n *= 2
    if not sizes:
        return (Look(n=n_max, alpha=alpha),)
    early = [Look(n=n, alpha=alpha / 2 / len(sizes)) for n in sizes]
    return (*early, Look(n=n_max, alpha=alpha / 2))


def rank_p_value(k: int, b: int) -> float:
    """min(1, 2 P(Bin(k + b, 1/2) >= k)): how surprising k against b is between equals."""
    if k == 0:
        return 1.0
    return min(1.0, 2.0 * float(betainc(k, b + 1, 0.5)))


@lru_cache(maxsize=1024)  # pure, and asked again for every look after each range that is counted
def judge_look(tally: Tally, *, sigma: float, alpha: float) -> Claim:
    """What the counts of one look show at its own error budget `alpha`."""
    k = max(tally.counts)
    top_class = tally.counts.index(k)
    others = [count for place, count in enumerate(tally.counts) if place != top_class]
    b = max(others) + tally.ambiguous
    p_a_lower, p_b_upper = _bounds(k, b, tally.n, alpha, two_classes=len(others) == 1)
    rank_p = rank_p_value(k, b)
    radius = l2_radius(p_a_lower, p_b_upper, sigma)
    claimed = rank_p <= (1 - _NUMERICAL_MARGIN) * _RANK_SHARE * alpha and radius > 0
    return Claim(
        top_class=top_class,
        p_a_lower=p_a_lower,
        p_b_upper=p_b_upper,
        rank_p=rank_p,
        radius=radius if claimed else None,
    )


def _bounds(k: int, b: int, n: int, alpha: float, *, two_classes: bool) -> tuple[float, float]:
    """Lower bound on the top class, upper bound on every other."""
    if two_classes:
        share = _BOUND_SHARE_TWO_CLASSES * alpha
        return lower_confidence_bound(k, n, share), upper_confidence_bound(n - k, n, share)
    share = _BOUND_SHARE * alpha
    runner_up = upper_confidence_bound(b, n, share)
    rest = upper_confidence_bound(n - k, n, share)  # 1 - p_a_lower
    return lower_confidence_bound(k, n, share), min(runner_up, rest)


def certify_staged(
    look_counts: Sequence[Sequence[int]],
    *,
    sigma: float,
    alpha: float,
    n_max: int,
    n_first: int = N_FIRST,
    ambiguous: Sequence[int] | None = None,
) -> Certified | Abstained:
    """The best claim of the looks made so far.

    With probability at least 1 - alpha over the sampling, if the result is `Certified`, then the
    smoothed classifier predicts `top_class` at every image within l2 distance `radius`, whatever
    rule ended the looks.

    Args:
        look_counts: cumulative votes per class at each look, shape (looks, num_classes).
        sigma: standard deviation of the noise, pixels in [0, 1].
        alpha: error probability of the certificate, in (0, 1/2).
        n_max: samples of the last planned look; fixed, as all else, before the noise is drawn.
        n_first: samples of the first planned look.
        ambiguous: cumulative samples that voted for no class at each look (default: none).

    Returns:
        `Certified` with the largest radius of all looks, or `Abstained` with the bounds of the
        last look; also abstained when two looks claim different classes.

    Raises:
        ValueError: counts that are not those of the schedule's looks from the first on, fewer than
            two classes, a cumulative count that falls, alpha or sigma out of range.
    """
    require_sigma(sigma)
    tallies = _parse_looks(look_counts, ambiguous)
    planned = plan_looks(alpha, n_max, n_first)
    _require_schedule(tallies, planned)
    claims = [
        judge_look(tally, sigma=sigma, alpha=look.alpha)
        for tally, look in zip(tallies, planned, strict=False)
    ]
    return conclude(claims)


def conclude(claims: Sequence[Claim]) -> Certified | Abstained:
    """The largest claim; an abstention where there is none or where claims contradict.

    ValueError without a look: nothing can be said then, not even which class came closest.
    """
    if not claims:
        raise ValueError("no look was made, at least one is needed")
    made = [claim for claim in claims if claim.radius is not None]
    if not made or claims_contradict(claims):
        last = claims[-1]
        return Abstained(
            top_class=last.top_class, p_a_lower=last.p_a_lower, p_b_upper=last.p_b_upper
        )
    best = max(made, key=lambda claim: claim.radius or 0.0)
    assert best.radius is not None
    return Certified(
        top_class=best.top_class,
        radius=best.radius,
        p_a_lower=best.p_a_lower,
        p_b_upper=best.p_b_upper,
    )


def claims_contradict(claims: Sequence[Claim]) -> bool:
    """Whether two looks claim different classes: one of them is false, which is an alarm."""
    return len({claim.top_class for claim in claims if claim.radius is not None}) > 1


def _parse_looks(
    look_counts: Sequence[Sequence[int]], ambiguous: Sequence[int] | None
) -> list[Tally]:
    counts: list[Any] = list(look_counts)
    doubts = (0,) * len(counts) if ambiguous is None else parse_whole(ambiguous)
    if not counts or len(doubts) != len(counts):
        raise ValueError(f"{len(counts)} looks with {len(doubts)} numbers of ambiguous samples")
    tallies = [
        Tally(counts=parse_counts(votes), ambiguous=doubt)
        for votes, doubt in zip(counts, doubts, strict=True)
    ]
    for earlier, later in pairwise(tallies):
        if not later.continues(earlier):
            raise ValueError(f"look {later} does not continue look {earlier}")
    return tallies


def _require_schedule(tallies: Sequence[Tally], planned: Sequence[Look]) -> None:
    if len(tallies) > len(planned):
        raise ValueError(f"{len(tallies)} looks, but only {len(planned)} are planned")
    for tally, look in zip(tallies, planned, strict=False):
        if tally.n != look.n:
            raise ValueError(f"a look at {tally.n} samples, but the schedule says {look.n}")
