"""Judges the looks of a staged claim again, as a document states them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from worker.certification import staged
from worker.certification.certificate import Abstained, Certified
from worker.certification.stopping import StoppingRule, StopReason
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
        n_max: samples of the last planned look.
    """

    given: Sequence[Mapping[str, Any]]
    sigma: float
    alpha: float
    n_max: int

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
            ambiguous=[look["ambiguous"] for look in self.given],
        )

    @property
    def contradict(self) -> bool:
        """Whether two looks claim different options."""
        return staged.claims_contradict(self._claims)

    @property
    def _planned(self) -> tuple[staged.Look, ...]:
        return staged.plan_looks(self.alpha, self.n_max)

    @cached_property
    def _claims(self) -> list[staged.Claim]:
        return [
            staged.judge_look(look, sigma=self.sigma, alpha=plan.alpha)
            for look, plan in zip(self.tallies, self._planned, strict=False)
        ]

    def _reason_after(self, rule: StoppingRule, made: int) -> StopReason | None:
        last, claims = self.tallies[made - 1], self._claims[:made]
        return rule.find_reason(last, claims, self._planned, sigma=self.sigma)

    def require_rule(self, rule: StoppingRule, said: object) -> None:
        """Requires that the rule ends the looks at the last one, for the reason `said`.

        Raises:
            RuleBroken: the rule ends the looks elsewhere or for another reason.
        """
        reason = self._reason_after(rule, len(self.tallies))
        if reason is None or reason != said:
            word = "to go on" if reason is None else repr(reason.value)
            raise RuleBroken(f"the looks end for {said!a}, but the rule says {word}")
        for made in range(1, len(self.tallies)):
            if self._reason_after(rule, made):
                raise RuleBroken(f"the rule already ends sampling at look {made}")
