"""When the staged procedure has seen enough. No rule here can make a claim false (CERTIFICATE 3).

The union bound covers every planned look, so stopping is free to look at the votes. What it must
not do is look at anything that is not a complete look.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.certification.bounds import lower_confidence_bound, upper_confidence_bound
from worker.certification.certificate import rounded_down
from worker.certification.staged import Claim, Look, claims_contradict, judge_look
from worker.certification.tally import Tally

_FUTILITY_ERROR = 0.05  # over all looks: how often a reachable radius may be given up
_MINIMUM_OVER_SIGMA = 0.05


class StopReason(StrEnum):
    """Why a staged certification took no more samples."""

    TARGET_REACHED = "target_reached"
    TOLERANCE_REACHED = "tolerance_reached"
    FUTILE = "futile"
    N_MAX_REACHED = "n_max_reached"
    CONTRADICTION = "contradiction"
    SELECTOR_ABSTAINED = "selector_abstained"  # routed: no prompt was chosen to go on with


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """What is asked of a staged certification, fixed with the request.

    Attributes:
        target_radius: "is the radius at least this?"; None asks for as much as n_max gives.
        tolerance: without a target, a radius within this share of the one predicted for n_max is
            enough.
        minimum_radius: without a target, less than this is not worth sampling for; None is
            0.05 sigma.
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
        """Why to stop after the looks made, or None to go on.

        Args:
            tally: votes of the last look.
            claims: what each look made shows.
            planned: the whole schedule.
            sigma: standard deviation of the noise.
        """
        if claims_contradict(claims):
            return StopReason.CONTRADICTION  # an alarm: no further look can make a claim
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
        """Whether n_max at the present proportions would add no more than the tolerance.

        Not where it would claim nothing or another class: an early claim is doubtful then, and
        further looks may contradict it.
        """
        predicted = judge_look(_scaled(tally, last.n), sigma=sigma, alpha=last.alpha)
        if predicted.radius is None:
            return False
        alike = (claim.radius or 0.0 for claim in claims if claim.top_class == predicted.top_class)
        return max(alike, default=0.0) >= (1 - self.tolerance) * predicted.radius

    def _is_futile(self, tally: Tally, planned: Sequence[Look], sigma: float) -> bool:
        """Whether even the most favourable proportions leave the goal out of reach at n_max."""
        favourable = _most_favourable(tally, planned[-1].n, _FUTILITY_ERROR / len(planned))
        reachable = judge_look(favourable, sigma=sigma, alpha=planned[-1].alpha).radius
        return reachable is None or reachable < self._goal(sigma)


def _scaled(tally: Tally, n: int) -> Tally:
    """The present proportions at n samples, rounding in favour of nobody in particular."""
    counts = [count * n // tally.n for count in tally.counts]
    ambiguous = tally.ambiguous * n // tally.n
    counts[counts.index(max(counts))] += n - sum(counts) - ambiguous
    return Tally(counts=tuple(counts), ambiguous=ambiguous)


def _most_favourable(tally: Tally, n: int, alpha: float) -> Tally:
    """Votes at n samples that the present ones leave possible and that certify the most.

    The top class at its upper bound, the runner-up no lower than its lower bound and no lower than
    an even split of the rest. Two bounds share `alpha`; two classes need one.
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
    """The remaining votes over the remaining classes, as evenly as can be."""
    return [(rest + place) // classes for place in range(classes)]
