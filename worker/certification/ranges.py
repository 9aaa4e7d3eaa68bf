"""Votes of index ranges, counted anywhere and in any order, merged into complete prefixes.

Sample i's noise depends on (key, i) alone, so ranges of one stream (one noise level, phase and
target) are merged by adding their votes, and a retried range has the votes it had (CERTIFICATE 6).
A sample nobody can vouch for is ambiguous: it counts against the top class, which is safe even
against a loss that was chosen by its votes. n never shrinks, and no look sees what merely
finished first.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from worker.certification.merkle import NO_VOTE
from worker.certification.tally import Tally


class RangesOverlap(ValueError):
    """Two ranges share samples and are not the same range, so neither can be added to the other."""


def split(n_total: int, shard: int, looks: Sequence[int]) -> tuple[range, ...]:
    """Cuts samples 0 .. n_total - 1 into ranges of at most `shard`, with a border at every look.

    Every look can then be made at a prefix of whole ranges. The cut depends on nothing else, so a
    retry asks for the same ranges.

    Args:
        n_total: samples in all, at least 1.
        shard: the most samples in a range, at least 1.
        looks: where looks are made, ascending, within 1 .. n_total.

    Raises:
        ValueError: a number out of range, or looks that do not ascend.
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
        start, stop: the samples, stop excluded.
        tally: their votes, added up.
        votes: the vote of each, a class index or -1 for an ambiguous sample; None where the job
            told no more than the tally.
    """

    start: int
    stop: int
    tally: Tally
    votes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _require_range(self.start, self.stop)
        if self.tally.n != self.stop - self.start:
            raise ValueError(f"{self.tally.n} votes for samples {self.start} .. {self.stop - 1}")
        if self.votes is not None and _count(self.votes, len(self.tally.counts)) != self.tally:
            raise ValueError("the votes of the samples do not add up to the tally")

    @classmethod
    def of_votes(cls, start: int, votes: Sequence[int], num_classes: int) -> "RangeVotes":
        """The range that begins at `start` and has these votes. ValueError on a class unknown."""
        tally = _count(votes, num_classes)
        return cls(start=start, stop=start + len(votes), tally=tally, votes=tuple(votes))


class Arrival(StrEnum):
    """What became of a range that came in."""

    COUNTED = "counted"
    """Its votes are in the ledger."""
    REPEATED = "repeated"
    """The same votes were there already; nothing changed."""
    DISAGREES = "disagrees"
    """An alarm: other votes were there for the same samples; where in doubt they are ambiguous."""
    LOST = "lost"
    """The range had been given up; its samples stay ambiguous."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Two counts of one range disagree: some machine computed wrongly, or not the f it names.

    `doubtful` are the samples that are ambiguous for it: those whose votes differ, or all of the
    range where only tallies are known.
    """

    start: int
    stop: int
    doubtful: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Held:
    """All that came for one range: different counts of it, and whether it was given up."""

    start: int
    stop: int
    copies: frozenset[RangeVotes] = frozenset()
    lost: bool = False

    def doubtful(self) -> tuple[int, ...]:
        """Samples on which copies disagree; all of them where a copy that differs has no votes."""
        if len(self.copies) < 2:
            return ()
        voted = [copy.votes for copy in self.copies if copy.votes is not None]
        if len({copy.tally for copy in self.copies}) > 1 and len(voted) < len(self.copies):
            return tuple(range(self.start, self.stop))
        rows = zip(*voted, strict=True)
        return tuple(self.start + i for i, votes in enumerate(rows) if len(set(votes)) > 1)

    def settle(self, num_classes: int) -> Tally:
        """The votes nobody contradicts; every other sample is ambiguous."""
        doubtful = self.doubtful()
        if self.lost or len(doubtful) == self.stop - self.start:
            return Tally(counts=(0,) * num_classes, ambiguous=self.stop - self.start)
        votes = self.settle_votes() if doubtful else None
        return next(iter(self.copies)).tally if votes is None else _count(votes, num_classes)

    def settle_votes(self) -> tuple[int, ...] | None:
        """Each sample's vote, -1 where it is contradicted or lost; None where nobody told them."""
        if self.lost:
            return (NO_VOTE,) * (self.stop - self.start)
        votes = next((copy.votes for copy in self.copies if copy.votes is not None), None)
        doubtful = set(self.doubtful())
        if votes is None or not doubtful:
            return votes
        samples = enumerate(votes, self.start)
        return tuple(NO_VOTE if sample in doubtful else vote for sample, vote in samples)


class RangeLedger:
    """The ranges of one stream that have come in, and the complete prefixes they make.

    What it says depends on the set of ranges that came and were lost, never on their order or
    number. More copies and more losses only make samples ambiguous, and for ever. Whoever adds a
    range has checked that it was counted under the stream's key and by the identity it is for.

    After an alarm or a loss take all looks from the ledger anew: together they stay nested.
    """

    def __init__(self, num_classes: int) -> None:
        self._empty = Tally.empty(num_classes)
        self._starts: list[int] = []
        self._held: dict[int, _Held] = {}

    @property
    def num_classes(self) -> int:
        """The classes that votes are over."""
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
        """Takes in the votes of one range.

        Raises:
            RangesOverlap: samples of it came as part of another range.
            ValueError: votes over another number of classes.
        """
        if len(votes.tally.counts) != len(self._empty.counts):
            expected, came = len(self._empty.counts), len(votes.tally.counts)
            raise ValueError(f"a range over {expected} classes was expected, one over {came} came")
        before = self._hold(votes.start, votes.stop)
        self._held[votes.start] = replace(before, copies=before.copies | {votes})
        return _describe(before, votes)

    def lost(self, start: int, stop: int) -> None:
        """Gives up samples start .. stop - 1: they are ambiguous, whatever comes for them.

        Raises:
            RangesOverlap: samples of it came as part of another range.
        """
        before = self._hold(start, stop)
        self._held[start] = replace(before, lost=True)

    def prefix(self, n: int) -> Tally | None:
        """The votes of samples 0 .. n - 1; None while one of their ranges is neither in nor lost.

        Raises:
            RangesOverlap: a range lies across sample n, so this prefix can never be complete.
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
        """Single votes of the range that begins at `start`, as they count: -1 where ambiguous.

        None while it is neither in nor lost, or where only its tally is known.
        """
        held = self._held.get(start)
        return None if held is None else held.settle_votes()

    def _ordered(self) -> Iterator[_Held]:
        return (self._held[start] for start in self._starts)

    def _hold(self, start: int, stop: int) -> _Held:
        """The place of a range, made where there is none."""
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
    """What a range that came after `before` is."""
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
            f"a range of samples begins at 0 or later and is not empty: {start} {stop}"
        )


def _count(votes: Sequence[int], num_classes: int) -> Tally:
    """The tally of single votes. ValueError on a vote that is neither -1 nor a class."""
    counts = [0] * (num_classes + 1)
    for vote in votes:
        if not NO_VOTE <= vote < num_classes:
            raise ValueError(f"a vote is -1 or a class below {num_classes}, got {vote}")
        counts[vote] += 1  # NO_VOTE is the last place
    return Tally(counts=tuple(counts[:-1]), ambiguous=counts[-1])
