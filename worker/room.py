"""A Redis that is full takes nothing more; what was begun waits for room and does not fail."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import OutOfMemoryError

from worker.handing_back import interruptible

log = logging.getLogger(__name__)
T = TypeVar("T")

_LOOK_S = 1.0


def when_there_is_room(write: Callable[[], T]) -> T:
    """What `write` returns, as soon as Redis has room for it; HandedBack ends the wait."""
    while True:
        try:
            return write()
        except OutOfMemoryError:
            log.warning("redis_full")
            with interruptible():
                time.sleep(_LOOK_S)
