"""Samples counted before a look says that they are needed, and seen only if it does.

While a look is decided a device would wait, and a batch whose rows are not all wanted runs them
empty. So the ranges that would come next are named early. Their votes are held here, in the order
they came, and are given on when the range is asked for; if it never is, nobody ever sees them. So
no vote can enter a decision that a run without foresight would not have seen.
"""

from collections import deque
from typing import final

from worker.certification import Phase
from worker.contract.protocol import CountRange, RangeCounted
from worker.counting.counter import Source


@final
class Foresight:
    """Gives on the votes of ranges that were asked for, and of no others."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._asked: dict[tuple[int, Phase], int] = {}  # how far each stream was asked for
        self._held: deque[RangeCounted] = deque()

    def count(self, wanted: CountRange) -> None:
        """Asks for a range that continues what was asked for of its stream."""
        self._asked[wanted.sigma_index, wanted.phase] = wanted.stop
        self._source.count(wanted)

    def foresee(self, likely: CountRange) -> None:
        """Names a range that may be asked for next. It does not cross the end of a look."""
        self._source.foresee(likely)

    def receive(self) -> RangeCounted:
        """The next counted range that was asked for."""
        for place, counted in enumerate(self._held):
            if self._was_asked(counted):
                del self._held[place]
                return counted
        while not self._was_asked(counted := self._source.receive()):
            self._held.append(counted)
        return counted

    def _was_asked(self, counted: RangeCounted) -> bool:
        return counted.stop <= self._asked.get((counted.sigma_index, counted.phase), 0)
