"""When the staged procedure stops. No rule here can make a claim false (CERTIFICATE 3).

The union bound covers every planned look, so a stopping rule may depend on the votes. It must
depend on complete looks only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.certification.bounds import lower_confidence_bound, upper_confidence_bound
from worker.certification.certificate import rounded_down
from worker.certification.schedule import Look, Schedule
from worker.certification.staged import Claim, claims_contradict, judge_look
from worker.certification.tally import Tally

_FUTILITY_ERROR = 0.05  # probability, over all looks, of giving up a radius that is reachable
_MINIMUM_OVER_SIGMA = 0.05


class StopReason(StrEnum):
    """Why a staged certification took no more samples."""

    TARGET_REACHED = "target_reached"
    TOLERANCE_REACHED = "tolerance_reached"
    FUTILE = "futile"
    N_MAX_REACHED = "n_max_reached"
    CONTRADICTION = "contradiction"
    SELECTOR_ABSTAINED = "selector_abstained"  # routed: the selector chose no prompt


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """When a staged certification may stop, fixed with the request.

    Radii are l2, in pixels scaled to [0, 1].

    Attributes:
        target_radius: stop once the radius is at least this. None asks for as much as n_max gives.
        tolerance: without a target, stop once the radius is within this share of the radius
            predicted for n_max.
        minimum_radius: without a target, stop once a radius of at least this is out of reach. None
            means 0.05 sigma.
    """

    target_radius: float | None = None
    tolerance: float = 0.05
    minimum_radius: float | None = None

    def find_reason(
        self,
        tally: Tally,
        claims: Sequence[Claim],
        planned: Sequence[Look],
        *,
        sigma: float,
    ) -> StopReason | None:
        """Why to stop after the looks made so far, or None to continue.

        Args:
            tally: the votes at the last look made.
            claims: what each look made so far shows.
            planned: the whole schedule.
            sigma: standard deviation of the noise, in pixels scaled to [0, 1].
        """
        if claims_contradict(claims):
            return StopReason.CONTRADICTION  # an alarm: the result abstains, whatever follows
        best = max((claim.radius or 0.0 for claim in claims), default=0.0)
        if self.target_radius is not None and float(rounded_down(best)) >= self.target_radius:
            return StopReason.TARGET_REACHED
        if len(claims) == len(planned):
            return StopReason.N_MAX_REACHED
        if self.target_radius is None and self._is_near(claims, tally, planned[-1], sigma):
            return StopReason.TOLERANCE_REACHED
        if best < self._goal(sigma) and self._is_futile(tally, planned, sigma):
            return StopReason.FUTILE
        return None

    def _goal(self, sigma: float) -> float:
        if self.target_radius is not None:
            return self.target_radius
        return _MINIMUM_OVER_SIGMA * sigma if self.minimum_radius is None else self.minimum_radius

    def _is_near(self, claims: Sequence[Claim], tally: Tally, last: Look, sigma: float) -> bool:
        """Whether going on to n_max, at the current proportions, would gain at most the tolerance.

        False if n_max would claim nothing or another class: an early claim is doubtful then, and
        further looks may contradict it.
        """
        predicted = judge_look(_scaled(tally, last.n), sigma=sigma, alpha=last.alpha)
        if predicted.radius is None:
            return False
        alike = (claim.radius or 0.0 for claim in claims if claim.top_class == predicted.top_class)
        return max(alike, default=0.0) >= (1 - self.tolerance) * predicted.radius

    def _is_futile(self, tally: Tally, planned: Sequence[Look], sigma: float) -> bool:
        """Whether the goal is out of reach at n_max even at the most favourable proportions."""
        favourable = _most_favourable(tally, planned[-1].n, _FUTILITY_ERROR / len(planned))
        reachable = judge_look(favourable, sigma=sigma, alpha=planned[-1].alpha).radius
        return reachable is None or reachable < self._goal(sigma)


def find_end(
    rule: StoppingRule,
    tallies: Sequence[Tally],
    claims: Sequence[Claim],
    schedule: Schedule,
    *,
    part: int,
    sigma: float,
) -> tuple[int, StopReason] | None:
    """At which number of looks a part of the schedule ends, and why; None if it goes on.

    Where the rule ends a part, the next part goes on from that very look, on the same votes. So the
    end is a function of the votes, whenever somebody decided to go on.

    Args:
        rule: when each part stops, with its last look as the one that the rule plans for.
        tallies, claims: the votes at the looks made so far, and what each of them shows.
        schedule: the whole schedule.
        part: the part that is asked about, from 0.
        sigma: standard deviation of the noise, in pixels scaled to [0, 1].

    Raises:
        ValueError: the schedule has no such part.
    """
    made, reason = 1, None
    for each in range(part + 1):
        planned, reason = schedule.upto(each), None
        while made <= len(tallies) and reason is None:
            reason = rule.find_reason(tallies[made - 1], claims[:made], planned, sigma=sigma)
            made += reason is None
        if reason is None:
            return None
    return None if reason is None else (made, reason)


def _scaled(tally: Tally, n: int) -> Tally:
    """The current proportions at n samples. The top class gets what rounding leaves over."""
    counts = [count * n // tally.n for count in tally.counts]
    ambiguous = tally.ambiguous * n // tally.n
    counts[counts.index(max(counts))] += n - sum(counts) - ambiguous
    return Tally(counts=tuple(counts), ambiguous=ambiguous)


def _most_favourable(tally: Tally, n: int, alpha: float) -> Tally:
    """The votes at n samples that certify the most and are still possible given the current votes.

    The top class is at its upper bound. The runner-up is no lower than its lower bound and no lower
    than an even split of the rest. The two bounds share `alpha`; two classes need only one bound.
    """
    k = max(tally.counts)
    top_class = tally.counts.index(k)
    others = [count for place, count in enumerate(tally.counts) if place != top_class]
    share = alpha / min(2, len(others))
    top = min(n, math.ceil(n * upper_confidence_bound(k, tally.n, share)))
    least = math.floor(n * lower_confidence_bound(max(others), tally.n, share))
    runner_up = min(n - top, max(least, math.ceil((n - top) / len(others))))
    counts = [top, runner_up, *_spread(n - top - runner_up, len(others) - 1)]
    return Tally(counts=tuple(counts))


def _spread(rest: int, classes: int) -> list[int]:
    """Spreads the remaining votes over the remaining classes, as evenly as possible."""
    return [(rest + place) // classes for place in range(classes)]
