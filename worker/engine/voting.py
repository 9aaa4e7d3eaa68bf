"""Turns image features into votes and counts, on the ballots of a session."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from models.learning.selector import PromptSelector
from models.vlm.base_classifier import BaseClassifier
from worker.certification.merkle import NO_VOTE
from worker.contract.protocol import RangeCounted
from worker.engine.runner.batch import Batch, Finish, Samples, Voter, Votes


@final
class ClassVoter:
    """Votes for the class with the largest logit.

    A vote is not safe if the two largest logits differ by tau or less, or any logit is not finite.
    """

    def __init__(self, classifier: BaseClassifier, tau: float) -> None:
        self._classifier, self._tau = classifier, tau
        self.num_options = classifier.num_classes
        self.key = ("classes", tau, id(classifier))  # the classifier lives as long as its voter

    def vote(self, image_features: Tensor) -> Tensor:
        """See `Voter`."""
        return choose_clear(self._classifier.logits(image_features), self._tau)


@final
class PromptVoter:
    """Votes for the prompt of a bank with the lowest entropy.

    A vote is not safe if the two lowest entropies differ by no more than tau lets them move, or any
    entropy is not finite.
    """

    def __init__(self, selector: PromptSelector, tau: float) -> None:
        self._selector, self._tolerance = selector, selector.tolerance(tau)
        self.num_options = len(selector.classifiers)
        self.key = ("selector", tau, *map(id, selector.classifiers))

    def vote(self, image_features: Tensor) -> Tensor:
        """See `Voter`."""
        return choose_clear(-self._selector.entropies(image_features), self._tolerance)


def choose_clear(values: Tensor, margin: float) -> Tensor:
    """The arg-max of each row, (B, options) to (B,); NO_VOTE where it is not clear.

    It is not clear if the two largest values differ by the margin or less, or any value is not
    finite.
    """
    top = values.topk(2, dim=1)  # (B, 2)
    clear = (top.values[:, 0] - top.values[:, 1]) > margin  # NaN is never greater
    clear &= torch.isfinite(values).all(dim=1)
    return torch.where(clear, top.indices[:, 0], NO_VOTE)


@final
class VoteTaker:
    """Counts a session's votes on the ballots of each noise level."""

    def __init__(
        self, voters: Sequence[Sequence[Voter]], deliver: Callable[[RangeCounted], None]
    ) -> None:
        self._voters, self._deliver = voters, deliver

    def take(self, samples: Samples, rows: slice, batch: Batch) -> Finish:
        """See `Taker`."""
        voters = self._voters[samples.sigma_index]
        places = [batch.cast(voter) for voter in voters]

        def count() -> None:
            votes = [batch.votes(place)[rows] for place in places]
            self._deliver(_count(samples, votes, [voter.num_options for voter in voters]))

        return count


def _count(samples: Samples, votes: Sequence[Votes], options: Sequence[int]) -> RangeCounted:
    purpose = samples.purpose
    assert purpose == "selection" or purpose == "estimation", "no other noise is voted on"
    return RangeCounted.of(
        sigma_index=samples.sigma_index,
        phase=purpose,
        start=samples.start,
        votes=votes,
        options=options,
    )
