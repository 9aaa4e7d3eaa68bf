"""A procedure as the engine sees it: which samples next, and what they prove.

A procedure is fixed before the noise key exists. It looks at counts over complete prefixes alone,
so neither speed nor retries nor the order of arrival can enter a decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from worker.certification.bounds import require_alpha
from worker.certification.certificate import Outcome
from worker.certification.cohen import certify_cohen
from worker.certification.tally import Tally

Phase = Literal["selection", "estimation"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Samples 0 .. n - 1 of `phase` must be counted before the procedure can go on."""

    phase: Phase
    n: int


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
    def goals(self) -> tuple[Goal, ...]:
        """Everything this procedure can ask for; both phases are independent and may overlap."""
        return Goal(phase="selection", n=self.n0), Goal(phase="estimation", n=self.n)

    def find_open_goals(self, tallies: Mapping[Phase, Tally]) -> tuple[Goal, ...]:
        """The goals not reached yet; none when the outcome is due."""
        return tuple(goal for goal in self.goals if tallies[goal.phase].n < goal.n)

    def decide(self, tallies: Mapping[Phase, Tally], *, sigma: float) -> Outcome:
        """The outcome, once every goal is reached exactly.

        Raises:
            ValueError: more or fewer samples than the procedure fixed beforehand.
        """
        for goal in self.goals:
            if tallies[goal.phase].n != goal.n:
                raise ValueError(f"{goal.phase}: {tallies[goal.phase].n} samples, not {goal.n}")
        selection, estimation = tallies["selection"], tallies["estimation"]
        return certify_cohen(
            selection.counts,
            estimation.counts,
            sigma=sigma,
            alpha=self.alpha,
            ambiguous=estimation.ambiguous,
        )
