"""A certification procedure as the engine sees it.

A procedure says how far to sample next and what the looks made so far prove. It is fixed before
the noise key exists. It sees only counts over complete prefixes, at the sizes it asked for, so
neither speed, retries nor the order of arrival can influence a decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from worker.certification.bounds import require_alpha
from worker.certification.certificate import Outcome
from worker.certification.cohen import certify_cohen
from worker.certification.schedule import Look, Schedule, plan_parts
from worker.certification.staged import Claim, claims_contradict, conclude, judge_look
from worker.certification.stopping import StoppingRule, StopReason, find_end
from worker.certification.tally import Tally

Phase = Literal["selection", "estimation"]
Looks = Mapping[Phase, tuple[Tally, ...]]
"""The looks made so far in each phase, in order; empty for a phase without a look."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Samples 0 .. n - 1 of `phase` must be counted before the procedure can go on."""

    phase: Phase
    n: int


class Procedure(Protocol):
    """Pure functions of the looks: what to sample next, and the outcome."""

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """The sizes of all looks that could be made, by phase, in ascending order."""

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:
        """The looks to make next, at most one per phase; empty once the outcome can be decided."""

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """The outcome. Call it once `find_goals` is empty.

        Raises:
            ValueError: the looks are not those that the procedure asked for.
        """


@dataclass(frozen=True, kw_only=True)
class Cohen:
    """`cohen`: n0 selection samples choose the class, and n fresh samples bound its probability."""

    n0: int
    n: int
    alpha: float

    def __post_init__(self) -> None:
        if self.n0 < 1 or self.n < 1:
            raise ValueError(f"n0 and n must be at least 1, got n0={self.n0}, n={self.n}")
        require_alpha(self.alpha)

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """See `Procedure`."""
        return {"selection": (self.n0,), "estimation": (self.n,)}

    @property
    def _goals(self) -> tuple[Goal, ...]:
        return Goal(phase="selection", n=self.n0), Goal(phase="estimation", n=self.n)

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:  # noqa: ARG002
        """See `Procedure`. The two phases are independent and may be sampled together."""
        return tuple(goal for goal in self._goals if not looks[goal.phase])

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """See `Procedure`."""
        (selection,), (estimation,) = looks["selection"], looks["estimation"]
        for goal, tally in zip(self._goals, (selection, estimation), strict=True):
            if tally.n != goal.n:
                raise ValueError(f"{goal.phase}: expected {goal.n} samples, got {tally.n}")
        return certify_cohen(
            selection.counts,
            estimation.counts,
            sigma=sigma,
            alpha=self.alpha,
            ambiguous=estimation.ambiguous,
            ambiguous_selection=selection.ambiguous,
        )


@dataclass(frozen=True, kw_only=True)
class Staged:
    """`staged`: looks at growing prefixes of one sample, ended by a stopping rule.

    With `n_cap` it may go on. After `continuations` the looks run up to the end of that part of the
    schedule (`worker.certification.schedule`), whose alpha was divided among all looks beforehand.
    """

    n_max: int
    alpha: float
    rule: StoppingRule
    n_cap: int | None = None
    continuations: int = 0

    def __post_init__(self) -> None:
        self._schedule.upto(self.continuations)  # raises ValueError if a number is out of range

    @property
    def _schedule(self) -> Schedule:
        return plan_parts(self.alpha, self.n_max, self.n_cap)

    @property
    def parts(self) -> int:
        """The number of parts of the schedule; 1 without `n_cap`."""
        return len(self._schedule.ends)

    @property
    def _looks(self) -> tuple[Look, ...]:
        """Those that could be made up to the end of this part."""
        return self._schedule.upto(self.continuations)

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """See `Procedure`."""
        return {"selection": (), "estimation": tuple(look.n for look in self._looks)}

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:
        """See `Procedure`."""
        made = looks["estimation"]
        if made and self.find_reason(looks, sigma=sigma) is not None:
            return ()
        return (Goal(phase="estimation", n=self._looks[len(made)].n),)

    def find_reason(self, looks: Looks, *, sigma: float) -> StopReason | None:
        """Why the looks made so far are enough, or None if they are not."""
        made = looks["estimation"]
        claims = self._claims(made, sigma)
        if self.continuations == 0:  # the rule ended none of the earlier looks, or there were none
            return self.rule.find_reason(made[-1], claims, self._looks, sigma=sigma)
        end = find_end(
            self.rule, made, claims, self._schedule, part=self.continuations, sigma=sigma
        )
        return None if end is None else end[1]

    def alarms(self, looks: Looks, *, sigma: float) -> bool:
        """Whether two looks claim different classes, so that one of the claims is false."""
        return claims_contradict(self._claims(looks["estimation"], sigma))

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """See `Procedure`."""
        return conclude(self._claims(looks["estimation"], sigma))

    def largest_radius(self, num_options: int, *, sigma: float) -> float:
        """The radius that is claimed where all samples vote alike, unrounded; 0 if none is."""
        rest = (0,) * (num_options - 1)
        claims = [
            judge_look(Tally(counts=(look.n, *rest)), sigma=sigma, alpha=look.alpha)
            for look in self._looks
        ]
        return max(claim.radius or 0.0 for claim in claims)

    def _claims(self, made: tuple[Tally, ...], sigma: float) -> list[Claim]:
        planned = self._looks[: len(made)]
        if [tally.n for tally in made] != [look.n for look in planned]:
            raise ValueError(f"looks at {[tally.n for tally in made]} samples were not planned")
        return [
            judge_look(tally, sigma=sigma, alpha=look.alpha)
            for tally, look in zip(made, planned, strict=True)
        ]
