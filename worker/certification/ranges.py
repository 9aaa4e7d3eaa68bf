"""Merges the votes of sample ranges, which are counted anywhere and may come more than once.

The noise of sample i depends on (key, i) alone, so a retried range of a stream (one noise level,
phase and target) has the same votes as before (CERTIFICATE 6). A sample on which copies differ is
ambiguous: it counts against the top class. This is safe even if somebody who saw the votes chose on
which to differ, because n never shrinks.

Copies contradict one another where one f counted both, or where they vote for two classes. Of two f
whose difference tau covers, one may call a sample ambiguous that votes in the other. That is what
tau is for, and contradicts nothing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.certification.merkle import NO_VOTE


class RangesOverlap(ValueError):
    """Two different ranges share samples, so their votes cannot be added."""


@dataclass(frozen=True, kw_only=True)
class RangeVotes:
    """The votes of a range of samples of one stream, as one job counted them.

    Attributes:
        start: the first sample.
        votes: the vote of each sample: a class index, or -1 for an ambiguous sample.
        num_classes: the number of classes to vote for.
        f: names the f that counted them.
    """

    start: int
    votes: tuple[int, ...]
    num_classes: int
    f: str = ""

    def __post_init__(self) -> None:
        if self.start < 0 or not self.votes:
            came = f"{len(self.votes)} votes from sample {self.start} on"
            raise ValueError(f"expected one or more votes from sample 0 or later on, got {came}")
        for vote in self.votes:
            if not NO_VOTE <= vote < self.num_classes:
                raise ValueError(f"a vote must be -1 or a class below {self.num_classes}: {vote}")

    @property
    def stop(self) -> int:
        """One past the last sample."""
        return self.start + len(self.votes)


class RangeLedger:
    """The ranges of one stream that have arrived.

    The state depends only on the set of ranges that arrived, never on their order or on
    repetitions. Further copies can only make samples ambiguous, and permanently so. The caller
    checks beforehand that a range was counted under the stream's key and by the right identity.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._starts: list[int] = []
        self._copies: dict[int, list[RangeVotes]] = {}  # of each range, those that differ

    def add(self, votes: RangeVotes) -> tuple[int, ...]:
        """Adds the votes of one range.

        Returns:
            Where the ledger had other votes for the range that these contradict (a machine computed
            wrongly, or ran another f than it named, or tau is too small), the samples that copies
            contradict one another on, now ambiguous; otherwise nothing.

        Raises:
            RangesOverlap: some of its samples belong to a different range in the ledger.
            ValueError: the votes are over another number of classes.
        """
        if votes.num_classes != self.num_classes:
            expected, came = self.num_classes, votes.num_classes
            raise ValueError(f"expected a range over {expected} classes, got one over {came}")
        copies = self._hold(votes)
        if votes in copies:
            return ()
        copies.append(votes)
        return tuple(
            sample
            for sample in range(votes.start, votes.stop)
            if _is_contradicted([(one.f, one.votes[sample - votes.start]) for one in copies])
        )

    def find_votes(self, start: int) -> tuple[int, ...] | None:
        """The single votes of the range that begins at `start`, -1 for an ambiguous sample.

        None while the range is still missing.
        """
        copies = self._copies.get(start)
        if copies is None:
            return None
        return tuple(found.pop() if len(found) == 1 else NO_VOTE for found in _rows(copies))

    def _hold(self, votes: RangeVotes) -> list[RangeVotes]:
        """The copies of a range, none for a new one."""
        copies = self._copies.get(votes.start)
        if copies is not None and copies[0].stop == votes.stop:
            return copies
        place = bisect_left(self._starts, votes.start)
        for other in self._starts[max(0, place - 1) : place + 1]:
            stop = self._copies[other][0].stop
            if other < votes.stop and votes.start < stop:
                came = f"samples {votes.start} .. {votes.stop - 1}"
                raise RangesOverlap(f"{came} overlap the range {other} .. {stop - 1}")
        self._starts.insert(place, votes.start)
        return self._copies.setdefault(votes.start, [])


def _rows(copies: Sequence[RangeVotes]) -> Iterator[set[int]]:
    """The different votes of each sample."""
    return map(set, zip(*(copy.votes for copy in copies), strict=True))


def _is_contradicted(found: Sequence[tuple[str, int]]) -> bool:
    """Whether copies of one sample, by f, cannot all be right."""
    voted = {vote for _, vote in found if vote != NO_VOTE}
    return len(voted) > 1 or len(set(found)) > len({f for f, _ in found})
