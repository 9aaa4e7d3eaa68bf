"""The procedure `staged`: looks at growing prefixes of one sample, each sound on its own.

At look j, with error budget alpha_j, the top class A has k votes and every other class has at most
b = (largest other count) + (ambiguous samples):

1. Rank check: A counts as the true winner only if
   min(1, 2 P(Bin(k + b, 1/2) >= k)) <= 0.02 alpha_j (Hung and Fithian, Annals of Statistics 2019).
2. Bounds: Clopper-Pearson at 0.49 alpha_j, from below for A and from above for the runner-up (two
   classes: 0.98 alpha_j and p_B = 1 - p_A). The largest other count is at least the true
   runner-up's, and the upper bound increases with the count, so no correction over classes is
   needed (Voracek, NeurIPS 2024, appendix B).
3. Radius: R_j = sigma/2 (Phi^-1(p_A) - Phi^-1(p_B)).

By the union bound over all planned looks, the claims of all looks hold together with probability
at least 1 - alpha, whatever stops the sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from worker.certification.bounds import (
    l2_radius,
    lower_confidence_bound,
    require_sigma,
    upper_confidence_bound,
)
from worker.certification.certificate import Abstained, Certified
from worker.certification.schedule import N_FIRST, Look, plan_looks, plan_parts
from worker.certification.tally import Tally, parse_counts, parse_whole

_RANK_SHARE, _BOUND_SHARE, _BOUND_SHARE_TWO_CLASSES = 0.02, 0.49, 0.98
_NUMERICAL_MARGIN = 1e-9


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one look shows. `radius` is None if the look claims nothing."""

    top_class: int
    p_a_lower: float
    p_b_upper: float
    rank_p: float
    radius: float | None


def rank_p_value(k: int, b: int) -> float:
    """min(1, 2 P(Bin(k + b, 1/2) >= k)): how surprising k votes to b are between equal classes."""
    if k == 0:
        return 1.0
    from scipy.special import betainc

    return min(1.0, 2.0 * float(betainc(k, b + 1, 0.5)))


@lru_cache(maxsize=1024)  # pure, and called again for every look after each counted range
def judge_look(tally: Tally, *, sigma: float, alpha: float) -> Claim:
    """What the counts of one look show within its own error budget `alpha`."""
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
    """A lower bound for the top class and an upper bound for every other class."""
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
    n_cap: int | None = None,
    ambiguous: Sequence[int] | None = None,
) -> Certified | Abstained:
    """The best claim of the looks made so far.

    With probability at least 1 - alpha over the sampling, if the result is `Certified`, then the
    smoothed classifier predicts `top_class` at every image within l2 distance `radius`, whatever
    rule ended the looks.

    Args:
        look_counts: cumulative votes for each class at each look, shape (looks, num_classes).
        sigma: standard deviation of the noise, in pixels scaled to [0, 1].
        alpha: error probability of the certificate, in (0, 1/2).
        n_max: samples at the last planned look. Like all parameters, it must be fixed before the
            noise is drawn.
        n_first: samples at the first planned look.
        n_cap: the most samples of a request that may go on, whose first look is at 64 samples.
        ambiguous: cumulative number of samples that voted for no class at each look, shape
            (looks,); None means no such samples.

    Returns:
        `Certified` with the largest radius over all looks, or `Abstained` with the bounds of the
        last look. The result is also `Abstained` if two looks claim different classes.

    Raises:
        ValueError: the looks are not those of the schedule, starting with the first; there are
            fewer than two classes; a cumulative count falls; or alpha or sigma is out of range.
    """
    require_sigma(sigma)
    tallies = _parse_looks(look_counts, ambiguous)
    planned = (
        plan_looks(alpha, n_max, n_first)
        if n_cap is None
        else plan_parts(alpha, n_max, n_cap).looks
    )
    _require_schedule(tallies, planned)
    claims = [
        judge_look(tally, sigma=sigma, alpha=look.alpha)
        for tally, look in zip(tallies, planned, strict=False)
    ]
    return conclude(claims)


def conclude(claims: Sequence[Claim]) -> Certified | Abstained:
    """The largest claim, or an abstention if no look claims anything or two claims contradict.

    Raises:
        ValueError: there are no looks, so that not even a closest class is known.
    """
    if not claims:
        raise ValueError("at least one look is needed, got none")
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
    """Whether two looks claim different classes: one claim is false, which raises an alarm."""
    return len({claim.top_class for claim in claims if claim.radius is not None}) > 1


def _parse_looks(
    look_counts: Sequence[Sequence[int]], ambiguous: Sequence[int] | None
) -> list[Tally]:
    counts: list[Any] = list(look_counts)
    doubts = (0,) * len(counts) if ambiguous is None else parse_whole(ambiguous)
    if not counts or len(doubts) != len(counts):
        raise ValueError(
            "at least one look is needed, each with a number of ambiguous samples, "
            f"got {len(counts)} looks with {len(doubts)} numbers of ambiguous samples"
        )
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
        raise ValueError(f"got {len(tallies)} looks, but only {len(planned)} are planned")
    for tally, look in zip(tallies, planned, strict=False):
        if tally.n != look.n:
            raise ValueError(f"a look is at {tally.n} samples, but the schedule says {look.n}")
