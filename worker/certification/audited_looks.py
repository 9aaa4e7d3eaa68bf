"""Judges the looks of a staged claim again, as a document states them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from worker.certification import staged
from worker.certification.certificate import Abstained, Certified
from worker.certification.schedule import Schedule, plan_parts
from worker.certification.stopping import StoppingRule, find_end
from worker.certification.tally import Tally


class RuleBroken(ValueError):
    """The looks did not end where the requested stopping rule ends them."""


@dataclass(frozen=True)
class AuditedLooks:
    """Cumulative counts over the options, at the looks of one schedule.

    Attributes:
        given: the looks as the document states them, each with n, counts and ambiguous.
        sigma: standard deviation of the noise, in pixels scaled to [0, 1].
        alpha: error probability of this claim alone.
        n_max: samples of the last planned look; with a cap, of the first part's.
        n_cap: the most samples of a request that may go on.
        continuations: how often it went on.
    """

    given: Sequence[Mapping[str, Any]]
    sigma: float
    alpha: float
    n_max: int
    n_cap: int | None = None
    continuations: int = 0

    @cached_property
    def tallies(self) -> list[Tally]:
        """The votes at each look.

        Raises:
            ValueError: a count is negative, or a look has fewer than two counts.
        """
        return [
            Tally(counts=tuple(look["counts"]), ambiguous=look["ambiguous"]) for look in self.given
        ]

    @property
    def n_used(self) -> int:
        """The number of samples at the last look."""
        return self.tallies[-1].n

    @cached_property
    def outcome(self) -> Certified | Abstained:
        """What the looks prove.

        Raises:
            ValueError: the looks are not those of the schedule, starting with the first.
        """
        if any(sum(look["counts"]) + look["ambiguous"] != look["n"] for look in self.given):
            raise ValueError("the counts of a look do not add up to its n")
        return staged.certify_staged(
            [look["counts"] for look in self.given],
            sigma=self.sigma,
            alpha=self.alpha,
            n_max=self.n_max,
            n_cap=self.n_cap,
            ambiguous=[look["ambiguous"] for look in self.given],
        )

    @property
    def contradict(self) -> bool:
        """Whether two looks claim different options."""
        return staged.claims_contradict(self._claims)

    @property
    def _schedule(self) -> Schedule:
        return plan_parts(self.alpha, self.n_max, self.n_cap)

    @cached_property
    def _claims(self) -> list[staged.Claim]:
        return [
            staged.judge_look(look, sigma=self.sigma, alpha=plan.alpha)
            for look, plan in zip(self.tallies, self._schedule.looks, strict=False)
        ]

    def require_rule(self, rule: StoppingRule, said: object) -> None:
        """Requires that the rule ends the looks at the last one, for the reason `said`.

        Raises:
            RuleBroken: the rule ends the looks elsewhere or for another reason.
        """
        end = find_end(
            rule,
            self.tallies,
            self._claims,
            self._schedule,
            part=self.continuations,
            sigma=self.sigma,
        )
        if end is None:
            raise RuleBroken(f"the looks end for {said!a}, but the rule says to go on")
        made, reason = end
        if made < len(self.tallies):
            raise RuleBroken(f"the rule already ends sampling at look {made}")
        if reason != said:
            raise RuleBroken(f"the looks end for {said!a}, but the rule says {reason.value!r}")
