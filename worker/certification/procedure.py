"""A procedure as the engine sees it: up to where next, and what the looks made prove.

A procedure is fixed before the noise key exists. It sees counts over complete prefixes alone, at
the sizes it asked for, so neither speed nor retries nor the order of arrival can enter a decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from worker.certification.bounds import require_alpha
from worker.certification.certificate import Outcome
from worker.certification.cohen import certify_cohen
from worker.certification.staged import Claim, claims_contradict, conclude, judge_look, plan_looks
from worker.certification.stopping import StoppingRule, StopReason
from worker.certification.tally import Tally

Phase = Literal["selection", "estimation"]
Looks = Mapping[Phase, tuple[Tally, ...]]
"""The looks made in each phase so far, in order; a phase without a look has an empty tuple."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Samples 0 .. n - 1 of `phase` must be counted before the procedure can go on."""

    phase: Phase
    n: int


class Procedure(Protocol):
    """A pure function of looks, in two questions."""

    @property
    def samples_max(self) -> int:
        """The most samples this procedure can ask for, over all phases."""

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """The sizes of all looks that could be made, by phase, ascending."""

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:
        """The looks to make next, at most one a phase; none when the outcome is due."""

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """The outcome, once no goal is left. ValueError on looks that were not asked for."""


@dataclass(frozen=True, kw_only=True)
class Cohen:
    """`cohen`: n0 selection samples choose the class, n fresh ones bound its probability."""

    n0: int
    n: int
    alpha: float

    def __post_init__(self) -> None:
        if self.n0 < 1 or self.n < 1:
            raise ValueError(f"n0 and n must be at least 1, got n0={self.n0}, n={self.n}")
        require_alpha(self.alpha)

    @property
    def samples_max(self) -> int:
        """See `Procedure`."""
        return self.n0 + self.n

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """See `Procedure`."""
        return {"selection": (self.n0,), "estimation": (self.n,)}

    @property
    def _goals(self) -> tuple[Goal, ...]:
        return Goal(phase="selection", n=self.n0), Goal(phase="estimation", n=self.n)

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:  # noqa: ARG002
        """See `Procedure`. Both phases are independent and may be sampled together."""
        return tuple(goal for goal in self._goals if not looks[goal.phase])

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """See `Procedure`."""
        (selection,), (estimation,) = looks["selection"], looks["estimation"]
        for goal, tally in zip(self._goals, (selection, estimation), strict=True):
            if tally.n != goal.n:
                raise ValueError(f"{goal.phase}: {tally.n} samples, not {goal.n}")
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
    """`staged`: looks at growing prefixes of one sample, ended by a stopping rule."""

    n_max: int
    alpha: float
    rule: StoppingRule

    def __post_init__(self) -> None:
        plan_looks(self.alpha, self.n_max)  # refuses what is out of range

    @property
    def samples_max(self) -> int:
        """See `Procedure`."""
        return self.n_max

    @property
    def planned(self) -> Mapping[Phase, tuple[int, ...]]:
        """See `Procedure`."""
        looks = plan_looks(self.alpha, self.n_max)
        return {"selection": (), "estimation": tuple(look.n for look in looks)}

    def find_goals(self, looks: Looks, *, sigma: float) -> tuple[Goal, ...]:
        """See `Procedure`."""
        made = looks["estimation"]
        if made and self.find_reason(looks, sigma=sigma) is not None:
            return ()
        return (Goal(phase="estimation", n=plan_looks(self.alpha, self.n_max)[len(made)].n),)

    def find_reason(self, looks: Looks, *, sigma: float) -> StopReason | None:
        """Why the looks made are enough, or None."""
        made = looks["estimation"]
        planned = plan_looks(self.alpha, self.n_max)
        return self.rule.find_reason(made[-1], self._claims(made, sigma), planned, sigma=sigma)

    def alarms(self, looks: Looks, *, sigma: float) -> bool:
        """Whether two looks claim different classes, so that one of them is false."""
        return claims_contradict(self._claims(looks["estimation"], sigma))

    def decide(self, looks: Looks, *, sigma: float) -> Outcome:
        """See `Procedure`."""
        return conclude(self._claims(looks["estimation"], sigma))

    def _claims(self, made: tuple[Tally, ...], sigma: float) -> list[Claim]:
        planned = plan_looks(self.alpha, self.n_max)[: len(made)]
        if [tally.n for tally in made] != [look.n for look in planned]:
            raise ValueError(f"looks at {[tally.n for tally in made]} samples were not planned")
        return [
            judge_look(tally, sigma=sigma, alpha=look.alpha)
            for tally, look in zip(made, planned, strict=True)
        ]
