"""How many entries strangers may cause, so that they cannot fill the disk."""

import time
from collections.abc import Callable

STRANGERS_A_MINUTE = 60


class StrangersLimit:
    """Limits entries about requests without a valid key.

    Requests beyond the limit of a minute are only counted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute, self._written, self._left_out = 0, 0, 0

    def count(self) -> int | None:
        """How many requests were left out before this one; None: this one is left out too."""
        if (minute := int(self._clock() // 60)) != self._minute:
            self._minute, self._written = minute, 0
        if self._written >= STRANGERS_A_MINUTE:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
