"""Connections to Redis.

A Redis that is full takes nothing more; what was begun waits for room and does not fail.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry

from models.log import get_logger
from worker.processes.hand_back import interruptible

log = get_logger(__name__)
T = TypeVar("T")

_DRIVER = DriverInfo()  # finding its version takes a file read, which each connection would repeat
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


def find_free_memory(redis: Redis) -> int | None:
    """Bytes that Redis may still take: up to `maxmemory`, or up to its machine's memory.

    None where Redis does not say.
    """
    try:
        memory: dict[str, Any] = redis.info("memory")
    except NoPermissionError:
        return None
    most = memory.get("maxmemory") or memory.get("total_system_memory") or 0
    return max(0, most - int(memory["used_memory"])) if most else None


def when_there_is_room(write: Callable[[], T]) -> T:
    """What `write` returns, as soon as Redis has room for it; HandedBack ends the wait."""
    while True:
        try:
            return write()
        except OutOfMemoryError:
            log.warning("redis_full", do=_DO)
            with interruptible():
                time.sleep(_LOOK_S)


def as_text(entry: object) -> str:
    """What Redis answered, bytes or str, as text."""
    return entry.decode() if isinstance(entry, bytes) else str(entry)


def create_app_redis(url: str, *, ca_file: Path | None = None) -> Redis:
    """The app's connection: half a second, no retry; who asks is told at once.

    Args:
        url: redis://, unix:// or rediss:// (TLS), with user and password where the server wants
            them.
        ca_file: the authority that signed the server's certificate; None: the system's own.
    """
    return Redis.from_url(
        url,
        **_trust(url, ca_file),
        driver_info=_DRIVER,
        socket_timeout=0.5,
        socket_connect_timeout=0.5,
        retry=RedisRetry(ExponentialBackoff(), 0),
    )


def create_worker_redis(url: str, *, ca_file: Path | None = None) -> Redis:
    """A worker's connection: it outlives a Redis that is away for a minute or so."""
    return Redis.from_url(
        url,
        **_trust(url, ca_file),
        driver_info=_DRIVER,
        retry=RedisRetry(ExponentialBackoff(cap=2, base=0.1), 60),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )


def _trust(url: str, ca_file: Path | None) -> dict[str, str]:
    """The option that names our own authority; redis-py takes it with TLS alone."""
    return {"ssl_ca_certs": str(ca_file)} if ca_file and url.startswith("rediss://") else {}
