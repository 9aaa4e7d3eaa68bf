"""Samples counted before a look needs them, and seen only if it does.

A device would wait while a look is decided, and a batch that is not full runs empty rows. So the
ranges that would come next are announced early. Their votes are held here, in order of arrival,
until the range is requested. If it never is, nobody sees them. So no vote enters a decision that
would not have entered it without prefetching.
"""

from collections import deque
from typing import final

from worker.certification import Phase
from worker.contract.protocol import CountRange, RangeCounted
from worker.counting.counter import VoteSource


@final
class Prefetch:
    """Passes on the votes of requested ranges only."""

    def __init__(self, source: VoteSource) -> None:
        self._source = source
        self._asked: dict[tuple[int, Phase], int] = {}  # how far each stream was requested
        self._held: deque[RangeCounted] = deque()

    def count(self, wanted: CountRange) -> None:
        """Requests the range that continues what was requested of its stream."""
        self._asked[wanted.sigma_index, wanted.phase] = wanted.stop
        self._source.count(wanted)

    def prefetch(self, likely: CountRange) -> None:
        """Announces a range that may be requested next. It does not cross the end of a look."""
        self._source.prefetch(likely)

    def receive(self) -> RangeCounted:
        """The next counted range among those requested."""
        for place, counted in enumerate(self._held):
            if self._was_asked(counted):
                del self._held[place]
                return counted
        while not self._was_asked(counted := self._source.receive()):
            self._held.append(counted)
        return counted

    def _was_asked(self, counted: RangeCounted) -> bool:
        return counted.stop <= self._asked.get((counted.sigma_index, counted.phase), 0)
