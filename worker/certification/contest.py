"""What one certificate counts: a ballot, or several that decide together.

A ballot is one way for every sample to vote. A plain certificate has one, over the classes. A
routed certificate (CERTIFICATE 5) has 1 + m: over the m prompts of a bank, and over the classes
under each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.certification.certificate import Abstained, Certified, Outcome
from worker.certification.procedure import Goal, Looks, Procedure, Staged


class Contest(Protocol):
    """Looks at several ballots in, goals out; a pure function, like a procedure."""

    @property
    def options(self) -> tuple[int, ...]:
        """How many different votes there are, for each ballot."""

    @property
    def procedure(self) -> Procedure:
        """Decides on each ballot, from its looks alone, when it has seen enough."""

    def find_goals(self, ballots: Sequence[Looks], *, sigma: float) -> tuple[Goal, ...]:
        """The looks to make next; none when the outcome is due."""


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
    """What a routed certificate claims, and the two claims it is made of.

    Attributes:
        outcome: of the whole pipeline.
        selector: over the bank; its `top_class` is the prompt chosen, or that came closest.
        classifier: over the classes, under that prompt.
    """

    outcome: Outcome
    selector: Outcome
    classifier: Outcome


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A selector over a bank of prompts fixed beforehand, and the classifier it chooses.

    The pipeline at an image is: the smoothed selector chooses a prompt, the smoothed classifier
    under that prompt a class. Within the selector's radius the choice stays, within the
    classifier's the class does, so within the smaller both do. Each is certified at half of alpha
    (`procedure.alpha`). There is no correction for the m classifiers: where the selector's claim
    is true, the prompt chosen is a fixed one, the exact selector's, whatever was sampled; so a
    claim is false with probability at most alpha/2 + alpha/2, and the noise may be shared.
    """

    num_classes: int
    bank_size: int
    procedure: Staged

    @property
    def options(self) -> tuple[int, ...]:
        """See `Contest`: the selector's ballot first, then one a prompt."""
        return (self.bank_size, *(self.num_classes,) * self.bank_size)

    def find_goals(self, ballots: Sequence[Looks], *, sigma: float) -> tuple[Goal, ...]:
        """See `Contest`. Only the prompt that leads is sampled for; none where none is chosen."""
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
        """The outcome, once no goal is left."""
        selector, *classifiers = ballots
        choice = self.procedure.decide(selector, sigma=sigma)
        under = self.procedure.decide(classifiers[choice.top_class], sigma=sigma)
        return RoutedOutcome(outcome=join_routed(choice, under), selector=choice, classifier=under)


def join_routed(selector: Outcome, classifier: Outcome) -> Outcome:
    """The pipeline's claim: the classifier's class within the smaller radius.

    An abstention of either abstains. The bounds shown are the classifier's.
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
