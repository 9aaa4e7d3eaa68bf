"""Ranges that several hosts counted, in any order and perhaps twice, given out once and in order.

The rules are those of `worker.certification.ranges`, for every ballot of every stream at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.certification import Phase
from worker.certification.merkle import NO_VOTE
from worker.certification.ranges import RangeLedger, RangeVotes
from worker.contract.protocol import CountRange, RangeCounted


class Disagreement(NamedTuple):
    """A sample that was counted twice with different votes: it is ambiguous for ever."""

    sigma_index: int
    phase: Phase
    ballot: int
    sample: int


class VotesDisagreed(RuntimeError):
    """Votes that looks were made on are contradicted; with them ambiguous, count anew."""


class _Stream:
    """The ranges of one noise level and phase: which come next, and what came for each."""

    def __init__(self, start: int) -> None:
        self.next = start
        self.stops: dict[int, int] = {}
        self.ledgers: list[RangeLedger] = []

    def add(self, counted: RangeCounted) -> Iterator[tuple[int, int]]:
        """Takes in a range; yields (ballot, sample) where it contradicts what came before."""
        self.stops[counted.start] = counted.stop
        self.ledgers = self.ledgers or [RangeLedger(len(counts)) for counts in counted.counts]
        for ballot, (ledger, counts) in enumerate(zip(self.ledgers, counted.counts, strict=True)):
            votes = RangeVotes.of_votes(counted.start, counted.get_votes(ballot), len(counts))
            yield from ((ballot, sample) for sample in ledger.add(votes))


class RangeMerge:
    """Whole ranges in, complete prefixes out.

    Args:
        disagreements: samples that are ambiguous whatever is counted for them.
    """

    def __init__(self, disagreements: Iterable[Disagreement] = ()) -> None:
        self._disagreements = frozenset(disagreements)
        self._streams: dict[tuple[int, Phase], _Stream] = {}

    def expect(self, wanted: CountRange) -> None:
        """Says that a stream goes on with this range, which may come in several."""
        key = (wanted.sigma_index, wanted.phase)
        self._streams.setdefault(key, _Stream(wanted.start))

    def add(self, counted: RangeCounted) -> frozenset[Disagreement]:
        """Takes in the votes of a range; the samples on which they contradict others."""
        key = (counted.sigma_index, counted.phase)
        found = frozenset(Disagreement(*key, *where) for where in self._streams[key].add(counted))
        self._disagreements |= found
        return found

    def was_delivered(self, one: Disagreement) -> bool:
        """Whether the sample has been given out, so that a look may have been made on it."""
        return one.sample < self._streams[one.sigma_index, one.phase].next

    def deliver(self) -> RangeCounted | None:
        """The next range of some stream, once; None while the next of none has come."""
        for (sigma_index, phase), stream in self._streams.items():
            stop = stream.stops.get(stream.next)
            if stop is not None:
                start, stream.next = stream.next, stop
                return self._create(sigma_index, phase, start, stream.ledgers)
        return None

    def _create(
        self, sigma_index: int, phase: Phase, start: int, ledgers: Sequence[RangeLedger]
    ) -> RangeCounted:
        return RangeCounted.of(
            sigma_index=sigma_index,
            phase=phase,
            start=start,
            votes=[
                self._settle(sigma_index, phase, ballot, start, ledger)
                for ballot, ledger in enumerate(ledgers)
            ],
            options=[ledger.num_classes for ledger in ledgers],
        )

    def _settle(
        self, sigma_index: int, phase: Phase, ballot: int, start: int, ledger: RangeLedger
    ) -> tuple[int, ...]:
        votes = ledger.find_votes(start)
        assert votes is not None, "only what came is delivered"
        if not self._disagreements:
            return votes
        place = (sigma_index, phase, ballot)
        return tuple(
            NO_VOTE if Disagreement(*place, sample) in self._disagreements else vote
            for sample, vote in enumerate(votes, start)
        )


def join_parts(parts: Sequence[RangeCounted]) -> RangeCounted:
    """Consecutive counts of one stream as one."""
    first, *others = parts
    if not others:
        return first
    ballots = range(len(first.counts))
    return RangeCounted.of(
        sigma_index=first.sigma_index,
        phase=first.phase,
        start=first.start,
        votes=[[vote for part in parts for vote in part.get_votes(b)] for b in ballots],
        options=[len(counts) for counts in first.counts],
    )
