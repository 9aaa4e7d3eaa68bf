"""A Redis that is full takes nothing more; what was begun waits for room and does not fail."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError

from worker.processes.hand_back import interruptible

log = logging.getLogger(__name__)
T = TypeVar("T")

_LOOK_S = 1.0
_DO = "raise maxmemory, or shorten PROMPTSMOOTH_CERTIFICATE_TTL_S; the job waits for room"


def find_write_fault(redis: Redis) -> str | None:
    """Why Redis would take nothing more, as it says itself; None when it would, or may not say."""
    try:
        memory: dict[str, Any] = redis.info("memory")
        log: dict[str, Any] = redis.info("persistence")
    except NoPermissionError:
        return None
    if 0 < memory["maxmemory"] <= memory["used_memory"]:
        return "Redis is full"
    if log.get("aof_enabled") and log.get("aof_last_write_status", "ok") != "ok":
        return "Redis cannot write its log; look at its disk"
    return None


def when_there_is_room(write: Callable[[], T]) -> T:
    """What `write` returns, as soon as Redis has room for it; HandedBack ends the wait."""
    while True:
        try:
            return write()
        except OutOfMemoryError:
            log.warning("redis_full", extra={"fields": {"do": _DO}})
            with interruptible():
                time.sleep(_LOOK_S)


def as_text(entry: bytes | str) -> str:
    return entry.decode() if isinstance(entry, bytes) else entry
