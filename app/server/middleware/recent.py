"""How many events there were lately."""

import math
from collections.abc import Callable


class Recent:
    """A count of events that forgets them over some seconds.

    Args:
        clock: seconds that only grow.
        over_s: after so many seconds, 1/e of an event is left.
    """

    def __init__(self, clock: Callable[[], float], *, over_s: float) -> None:
        self._clock, self._over_s = clock, over_s
        self._count, self._counted_at = 0.0, clock()

    def add(self) -> None:
        """Counts one more."""
        self._count = self.count() + 1

    def count(self) -> float:
        """Those of the last seconds; older ones count for less."""
        now = self._clock()
        self._count *= math.exp((self._counted_at - now) / self._over_s)
        self._counted_at = now
        return self._count
