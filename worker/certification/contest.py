"""The ballots that one certificate counts.

A ballot is one way for every sample to vote. A plain certificate has one ballot, over the classes.
A routed certificate (CERTIFICATE 5) has 1 + m ballots: one over the m prompts of a bank, and one
over the classes under each prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.certification.certificate import Abstained, Certified, Outcome
from worker.certification.procedure import Goal, Looks, Procedure, Staged


class Contest(Protocol):
    """A pure function from the looks at all ballots to the goals to reach next."""

    @property
    def options(self) -> tuple[int, ...]:
        """The number of options to vote for, for each ballot."""

    @property
    def procedure(self) -> Procedure:
        """The procedure that decides each ballot, and when to stop, from its looks alone."""

    def find_goals(self, ballots: Sequence[Looks], *, sigma: float) -> tuple[Goal, ...]:
        """The looks to make next; empty once the outcome can be decided."""


@dataclass(frozen=True, kw_only=True)
class Single:
    """One ballot over the classes."""

    num_classes: int
    procedure: Procedure

    @property
    def options(self) -> tuple[int, ...]:
        """See `Contest`."""
        return (self.num_classes,)

    def find_goals(self, ballots: Sequence[Looks], *, sigma: float) -> tuple[Goal, ...]:
        """See `Contest`."""
        (looks,) = ballots
        return self.procedure.find_goals(looks, sigma=sigma)


@dataclass(frozen=True, kw_only=True)
class RoutedOutcome:
    """The claim of a routed certificate, and the two claims it combines.

    Attributes:
        outcome: the claim about the whole pipeline.
        selector: the claim over the bank. Its `top_class` is the prompt chosen, or the prompt that
            came closest.
        classifier: the claim over the classes, under that prompt.
    """

    outcome: Outcome
    selector: Outcome
    classifier: Outcome


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A selector over a bank of prompts fixed beforehand, and the classifier it chooses.

    On an image, the smoothed selector chooses a prompt, and the smoothed classifier under that
    prompt chooses a class. The prompt stays the same within the selector's radius, and the class
    within the classifier's, so both stay the same within the smaller of the two.

    Each of the two is certified at half of alpha (`procedure.alpha`). No correction for the m
    classifiers is needed: wherever the selector's claim is true, the prompt chosen is the exact
    selector's, which is fixed, whatever was sampled. The pipeline's claim is therefore false with
    probability at most alpha/2 + alpha/2, and the two may share noise.
    """

    num_classes: int
    bank_size: int
    procedure: Staged

    @property
    def options(self) -> tuple[int, ...]:
        """See `Contest`. The selector's ballot comes first, then one ballot per prompt."""
        return (self.bank_size, *(self.num_classes,) * self.bank_size)

    def find_goals(self, ballots: Sequence[Looks], *, sigma: float) -> tuple[Goal, ...]:
        """See `Contest`. Only the leading prompt is sampled for; no prompt if none is chosen."""
        selector, *classifiers = ballots
        goals = self.procedure.find_goals(selector, sigma=sigma)
        if not selector["estimation"]:
            return goals
        choice = self.procedure.decide(selector, sigma=sigma)
        if not goals and isinstance(choice, Abstained):
            return ()
        chosen = classifiers[choice.top_class]
        return (*goals, *self.procedure.find_goals(chosen, sigma=sigma))

    def decide(self, ballots: Sequence[Looks], *, sigma: float) -> RoutedOutcome:
        """The outcome. Call it once `find_goals` is empty."""
        selector, *classifiers = ballots
        choice = self.procedure.decide(selector, sigma=sigma)
        under = self.procedure.decide(classifiers[choice.top_class], sigma=sigma)
        return RoutedOutcome(outcome=join_routed(choice, under), selector=choice, classifier=under)


def join_routed(selector: Outcome, classifier: Outcome) -> Outcome:
    """The pipeline's claim: the classifier's class within the smaller of the two radii.

    The pipeline abstains if either of the two abstains. The bounds shown are the classifier's.
    """
    if isinstance(selector, Certified) and isinstance(classifier, Certified):
        return Certified(
            top_class=classifier.top_class,
            radius=min(selector.radius, classifier.radius),
            p_a_lower=classifier.p_a_lower,
            p_b_upper=classifier.p_b_upper,
        )
    return Abstained(
        top_class=classifier.top_class,
        p_a_lower=classifier.p_a_lower,
        p_b_upper=classifier.p_b_upper,
    )
