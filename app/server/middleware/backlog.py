"""When a caller that was refused for the moment should come again."""

import math
import time
from collections.abc import Callable
from random import Random

from app.server.middleware.recent import Recent

_REMEMBERED_S = 10.0
_LONGEST_S = 60


class Backlog:
    """Spreads refused callers over the time in which the service gets through them.

    If all of them came again after the same second, the service would spend its time on refusals.

    Args:
        clock: seconds that only grow.
        random: chooses each caller's time.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, random: Random | None = None
    ) -> None:
        self._random = random or Random()  # noqa: S311  nothing secret
        self._finished, self._refused = (
            Recent(clock, over_s=_REMEMBERED_S),
            Recent(clock, over_s=_REMEMBERED_S),
        )

    def finish(self) -> None:
        """Notes that the service got through one request."""
        self._finished.add()

    def refuse(self, at_work: int) -> int:
        """Notes a refusal; returns after how many seconds that caller should come again.

        The time is drawn at random, so that callers refused together do not come together. Its mean
        is the time that those refused in the last seconds take at the rate of those seconds.

        Args:
            at_work: requests that the service works on now, and will soon be through with.
        """
        self._refused.add()
        soon = max(1.0, self._finished.count() + at_work)
        needed_s = self._refused.count() / soon * _REMEMBERED_S
        return min(_LONGEST_S, max(1, math.ceil(self._random.uniform(0, 2 * needed_s))))
