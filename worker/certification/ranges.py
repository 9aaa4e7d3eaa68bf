"""Merges the votes of sample ranges, counted anywhere and in any order, into complete prefixes.

The noise of sample i depends on (key, i) alone. Ranges of one stream (one noise level, phase and
target) are therefore merged by adding their votes, and a retried range has the same votes as
before (CERTIFICATE 6). A sample whose vote is lost or contradicted is ambiguous: it counts against
the top class. This is safe even if somebody who saw the votes chose which to lose. n never shrinks,
and every look is over a complete prefix, never over whatever finished first.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from worker.certification.merkle import NO_VOTE
from worker.certification.tally import Tally


class RangesOverlap(ValueError):
    """Two different ranges share samples, so their votes cannot be added."""


def split(n_total: int, shard: int, looks: Sequence[int]) -> tuple[range, ...]:
    """Splits samples 0 .. n_total - 1 into ranges of at most `shard`, with a border at every look.

    Every look then covers a prefix of whole ranges. The ranges depend on the arguments alone, so a
    retry asks for the same ones.

    Args:
        n_total: total number of samples, at least 1.
        shard: largest number of samples in a range, at least 1.
        looks: sample numbers at which looks are made, ascending, within 1 .. n_total.

    Raises:
        ValueError: a number is out of range, or the looks do not ascend.
    """
    if n_total < 1 or shard < 1:
        raise ValueError(f"n_total and shard must be at least 1, got {n_total} and {shard}")
    borders = (0, *looks) if looks and looks[-1] == n_total else (0, *looks, n_total)
    if any(after <= before for before, after in pairwise(borders)):
        raise ValueError(f"looks must ascend within 1 .. {n_total}, got {tuple(looks)}")
    return tuple(
        range(start, min(start + shard, after))
        for before, after in pairwise(borders)
        for start in range(before, after, shard)
    )


@dataclass(frozen=True, kw_only=True)
class RangeVotes:
    """The votes of samples start .. stop - 1 of one stream, as one job counted them.

    Attributes:
        start: the first sample.
        stop: one past the last sample.
        tally: the sum of the votes.
        votes: the vote of each sample: a class index, or -1 for an ambiguous sample. None if the
            job reported the tally only.
    """

    start: int
    stop: int
    tally: Tally
    votes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _require_range(self.start, self.stop)
        if self.tally.n != self.stop - self.start:
            raise ValueError(f"{self.tally.n} votes for samples {self.start} .. {self.stop - 1}")
        if (
            self.votes is not None
            and Tally.of_votes(self.votes, len(self.tally.counts)) != self.tally
        ):
            raise ValueError("the votes of the samples do not add up to the tally")

    @classmethod
    def of_votes(cls, start: int, votes: Sequence[int], num_classes: int) -> "RangeVotes":
        """The range that begins at `start` and has these votes.

        Raises:
            ValueError: a vote is neither -1 nor a class below `num_classes`, or there is no vote.
        """
        tally = Tally.of_votes(votes, num_classes)
        return cls(start=start, stop=start + len(votes), tally=tally, votes=tuple(votes))


class Arrival(StrEnum):
    """What the ledger did with a range that arrived."""

    COUNTED = "counted"
    """The ledger counts the votes."""
    REPEATED = "repeated"
    """The ledger already had the same votes; no count changed."""
    DISAGREES = "disagrees"
    """An alarm: the ledger had other votes for the range. Doubtful samples are ambiguous."""
    LOST = "lost"
    """The range had been given up; its samples stay ambiguous."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Two counts of one range disagree: a machine computed wrongly, or ran another f than it named.

    Attributes:
        start: the first sample of the range.
        stop: one past the last sample.
        doubtful: the samples made ambiguous: those whose votes differ, or the whole range where
            only tallies are known.
    """

    start: int
    stop: int
    doubtful: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Held:
    """Everything known about one range: its different counts, and whether it was given up."""

    start: int
    stop: int
    copies: frozenset[RangeVotes] = frozenset()
    lost: bool = False

    def doubtful(self) -> tuple[int, ...]:
        """Samples the copies disagree on: the whole range if tallies differ and one lacks votes."""
        if len(self.copies) < 2:
            return ()
        voted = [copy.votes for copy in self.copies if copy.votes is not None]
        if len({copy.tally for copy in self.copies}) > 1 and len(voted) < len(self.copies):
            return tuple(range(self.start, self.stop))
        rows = zip(*voted, strict=True)
        return tuple(self.start + i for i, votes in enumerate(rows) if len(set(votes)) > 1)

    def settle(self, num_classes: int) -> Tally:
        """The tally of all uncontradicted votes; every other sample is ambiguous."""
        doubtful = self.doubtful()
        if self.lost or len(doubtful) == self.stop - self.start:
            return Tally(counts=(0,) * num_classes, ambiguous=self.stop - self.start)
        votes = self.settle_votes() if doubtful else None
        return (
            next(iter(self.copies)).tally if votes is None else Tally.of_votes(votes, num_classes)
        )

    def settle_votes(self) -> tuple[int, ...] | None:
        """Each sample's vote, -1 if contradicted or lost; None if no copy has single votes."""
        if self.lost:
            return (NO_VOTE,) * (self.stop - self.start)
        votes = next((copy.votes for copy in self.copies if copy.votes is not None), None)
        doubtful = set(self.doubtful())
        if votes is None or not doubtful:
            return votes
        samples = enumerate(votes, self.start)
        return tuple(NO_VOTE if sample in doubtful else vote for sample, vote in samples)


class RangeLedger:
    """The ranges of one stream that have arrived, and the complete prefixes they form.

    The state depends only on the set of ranges that arrived and were lost, never on their order or
    on repetitions. Further copies and losses can only make samples ambiguous, and permanently so.
    The caller checks beforehand that a range was counted under the stream's key and by the right
    identity.

    After an alarm or a loss, read all looks from the ledger again, so that they stay nested.
    """

    def __init__(self, num_classes: int) -> None:
        self._empty = Tally.empty(num_classes)
        self._starts: list[int] = []
        self._held: dict[int, _Held] = {}

    @property
    def num_classes(self) -> int:
        """The number of classes to vote for."""
        return len(self._empty.counts)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The ranges whose counts disagree, in order."""
        return tuple(
            Alarm(start=held.start, stop=held.stop, doubtful=doubtful)
            for held in self._ordered()
            if (doubtful := held.doubtful())
        )

    def add(self, votes: RangeVotes) -> Arrival:
        """Adds the votes of one range.

        Raises:
            RangesOverlap: some of its samples belong to a different range in the ledger.
            ValueError: the votes are over another number of classes.
        """
        if len(votes.tally.counts) != len(self._empty.counts):
            expected, came = len(self._empty.counts), len(votes.tally.counts)
            raise ValueError(f"expected a range over {expected} classes, got one over {came}")
        before = self._hold(votes.start, votes.stop)
        self._held[votes.start] = replace(before, copies=before.copies | {votes})
        return _describe(before, votes)

    def lost(self, start: int, stop: int) -> None:
        """Gives up samples start .. stop - 1: they are ambiguous, whatever arrives for them later.

        Raises:
            RangesOverlap: some of them belong to a different range in the ledger.
        """
        before = self._hold(start, stop)
        self._held[start] = replace(before, lost=True)

    def prefix(self, n: int) -> Tally | None:
        """The votes of samples 0 .. n - 1; None while one of their ranges is still missing.

        Raises:
            RangesOverlap: a range has samples on both sides of n, so this prefix can never be
                complete.
            ValueError: n is negative.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        self._require_border(n)
        total = self._empty
        for held in self._ordered():
            if total.n == n or held.start != total.n:
                break
            total += held.settle(len(total.counts))
        return total if total.n == n else None

    def find_votes(self, start: int) -> tuple[int, ...] | None:
        """The single votes of the range that begins at `start`, -1 for an ambiguous sample.

        None while the range is still missing, or if only its tally is known.
        """
        held = self._held.get(start)
        return None if held is None else held.settle_votes()

    def _ordered(self) -> Iterator[_Held]:
        return (self._held[start] for start in self._starts)

    def _hold(self, start: int, stop: int) -> _Held:
        """The entry of a range, or a new one."""
        _require_range(start, stop)
        held = self._held.get(start)
        if held is not None and held.stop == stop:
            return held
        place = bisect_left(self._starts, start)
        for other in self._starts[max(0, place - 1) : place + 1]:
            if other < stop and start < self._held[other].stop:
                taken = f"{other} .. {self._held[other].stop - 1}"
                raise RangesOverlap(f"samples {start} .. {stop - 1} overlap the range {taken}")
        self._starts.insert(place, start)
        return _Held(start=start, stop=stop)

    def _require_border(self, n: int) -> None:
        place = bisect_left(self._starts, n) - 1
        if place >= 0 and self._held[self._starts[place]].stop > n:
            held = self._held[self._starts[place]]
            raise RangesOverlap(
                f"a look at {n} samples needs a border there; "
                f"the range {held.start} .. {held.stop - 1} lies across it"
            )


def _describe(before: _Held, votes: RangeVotes) -> Arrival:
    """What the ledger does with `votes`, given what it had `before`."""
    if votes in before.copies:
        return Arrival.REPEATED
    if any(_disagree(votes, copy) for copy in before.copies):
        return Arrival.DISAGREES
    if before.copies:
        return Arrival.REPEATED
    return Arrival.LOST if before.lost else Arrival.COUNTED


def _disagree(a: RangeVotes, b: RangeVotes) -> bool:
    if a.votes is None or b.votes is None:
        return a.tally != b.tally
    return a.votes != b.votes


def _require_range(start: int, stop: int) -> None:
    if not 0 <= start < stop:
        raise ValueError(
            f"a range of samples must start at 0 or later and not be empty, got {start} .. {stop}"
        )
