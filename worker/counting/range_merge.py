"""Puts ranges that several hosts counted, in any order and perhaps twice, in order and once.

It applies the rules of `worker.certification.ranges` to all ballots of all streams.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.certification import Phase
from worker.certification.merkle import NO_VOTE
from worker.certification.ranges import RangeLedger, RangeVotes
from worker.contract.protocol import CountRange, RangeCounted


class Disagreement(NamedTuple):
    """A sample that was counted twice with different votes. It stays ambiguous."""

    sigma_index: int
    phase: Phase
    ballot: int
    sample: int


class VotesDisagreed(RuntimeError):
    """Votes that looks were made on are contradicted. Count anew with them as ambiguous."""


class _Stream:
    """The ranges of one noise level and phase that arrived, and where the next one starts."""

    def __init__(self, start: int) -> None:
        self.next = start
        self.stops: dict[int, int] = {}
        self.ledgers: list[RangeLedger] = []

    def add(self, counted: RangeCounted, f: str) -> Iterator[tuple[int, int]]:
        """Adds a range. Yields each (ballot, sample) on which it contradicts an earlier count."""
        self.stops[counted.start] = counted.stop
        self.ledgers = self.ledgers or [RangeLedger(len(counts)) for counts in counted.counts]
        for ballot, (ledger, counts) in enumerate(zip(self.ledgers, counted.counts, strict=True)):
            single, options = counted.get_votes(ballot), len(counts)
            votes = RangeVotes(start=counted.start, votes=single, num_classes=options, f=f)
            yield from ((ballot, sample) for sample in ledger.add(votes))


class RangeMerge:
    """Takes whole ranges and gives out complete prefixes.

    Args:
        disagreements: samples that are ambiguous, whatever votes arrive for them.
    """

    def __init__(self, disagreements: Iterable[Disagreement] = ()) -> None:
        self._disagreements = frozenset(disagreements)
        self._streams: dict[tuple[int, Phase], _Stream] = {}

    def expect(self, wanted: CountRange) -> None:
        """Expects that a stream continues with this range, which may arrive in parts."""
        key = (wanted.sigma_index, wanted.phase)
        self._streams.setdefault(key, _Stream(wanted.start))

    def add(self, counted: RangeCounted, f: str = "") -> frozenset[Disagreement]:
        """Adds the votes of a range, counted by the f of that name.

        Returns the samples on which they contradict earlier ones.
        """
        key = (counted.sigma_index, counted.phase)
        added = self._streams[key].add(counted, f)
        found = frozenset(Disagreement(*key, *where) for where in added)
        self._disagreements |= found
        return found

    def was_delivered(self, one: Disagreement) -> bool:
        """Whether the sample was given out, so that a look may include it."""
        return one.sample < self._streams[one.sigma_index, one.phase].next

    def deliver(self) -> RangeCounted | None:
        """The next range of a stream, once; None while no stream has its next range."""
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
    """Joins consecutive ranges of one stream."""
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
