"""The looks of a staged claim, as a document gives them, judged again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from worker.certification.certificate import Abstained, Certified
from worker.certification.staged import (
    Claim,
    Look,
    certify_staged,
    claims_contradict,
    judge_look,
    plan_looks,
)
from worker.certification.stopping import StoppingRule, StopReason
from worker.certification.tally import Tally


class RuleBroken(ValueError):
    """The looks did not end where the rule that was asked for ends them."""


@dataclass(frozen=True)
class AuditedLooks:
    """Cumulative counts over options, at the looks of one schedule.

    Attributes:
        given: the looks, as in a document: n, counts, ambiguous.
        sigma, alpha, n_max: of this claim alone.
    """

    given: Sequence[Mapping[str, Any]]
    sigma: float
    alpha: float
    n_max: int

    @cached_property
    def tallies(self) -> list[Tally]:
        """The looks. ValueError where a count is negative or there are fewer than two."""
        return [
            Tally(counts=tuple(look["counts"]), ambiguous=look["ambiguous"]) for look in self.given
        ]

    @property
    def n_used(self) -> int:
        """Samples at the last look."""
        return self.tallies[-1].n

    @cached_property
    def outcome(self) -> Certified | Abstained:
        """What the looks prove. ValueError where they are not the schedule's from the first on."""
        if any(sum(look["counts"]) + look["ambiguous"] != look["n"] for look in self.given):
            raise ValueError("a look's counts are not its n")
        return certify_staged(
            [look["counts"] for look in self.given],
            sigma=self.sigma,
            alpha=self.alpha,
            n_max=self.n_max,
            ambiguous=[look["ambiguous"] for look in self.given],
        )

    @property
    def contradict(self) -> bool:
        """Whether two looks claim different options."""
        return claims_contradict(self._claims)

    @property
    def _planned(self) -> tuple[Look, ...]:
        return plan_looks(self.alpha, self.n_max)

    @cached_property
    def _claims(self) -> list[Claim]:
        return [
            judge_look(look, sigma=self.sigma, alpha=plan.alpha)
            for look, plan in zip(self.tallies, self._planned, strict=False)
        ]

    def _reason_after(self, rule: StoppingRule, made: int) -> StopReason | None:
        last, claims = self.tallies[made - 1], self._claims[:made]
        return rule.find_reason(last, claims, self._planned, sigma=self.sigma)

    def require_rule(self, rule: StoppingRule, said: object) -> None:
        """Passes where the rule ends the looks at the last one, for the reason that is said.

        Raises:
            RuleBroken: it ends them elsewhere or for another reason.
        """
        reason = self._reason_after(rule, len(self.tallies))
        if reason is None or reason != said:
            word = "to go on" if reason is None else repr(reason.value)
            raise RuleBroken(f"the looks end for {said!a}, but the rule says {word}")
        for made in range(1, len(self.tallies)):
            if self._reason_after(rule, made):
                raise RuleBroken(f"by the rule, sampling ends at look {made} already")
