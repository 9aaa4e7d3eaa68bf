"""Which worker hosts are to take no jobs: the wish lies in Redis, each supervisor heeds it."""

from typing import Literal

from redis import Redis

from worker.contract import WorkerReport
from worker.store import keyspace

How = Literal["hand back", "finish"]
EVERY_HOST = "*"


def drain(redis: Redis, host: str = EVERY_HOST, *, how: How = "hand back") -> None:
    """Wishes that a host takes no more jobs; it stays so when the host starts again.

    Args:
        redis: where hosts look.
        host: a name of `promptsmooth workers`, a machine's host name, or every host.
        how: running jobs go back to the queue at their next chunk, or to their end.
    """
    redis.hset(keyspace.DRAIN, host, how)


def resume(redis: Redis, host: str = EVERY_HOST) -> None:
    """Takes the wish back: for one host, or all wishes."""
    if host == EVERY_HOST:
        redis.delete(keyspace.DRAIN)
    else:
        redis.hdel(keyspace.DRAIN, host)


def find_wish(redis: Redis, name: str) -> How | None:
    """How the host with this name is to drain; None when it is to work."""
    for wish in redis.hmget(keyspace.DRAIN, [name, machine(name), EVERY_HOST]):
        if wish is not None:
            return "finish" if wish in ("finish", b"finish") else "hand back"
    return None


def machine(name: str) -> str:
    """The machine's host name within a worker host's name."""
    return name.rpartition("-")[0]


def concerns(report: WorkerReport, host: str) -> bool:
    """Whether a wish for `host` concerns the host of this report."""
    return host in (EVERY_HOST, report.name, machine(report.name))
