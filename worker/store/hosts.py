"""Which worker hosts are alive, and with which models: announced, with a time to live."""

import logging
from typing import Literal

from pydantic import ValidationError
from redis import Redis

from worker.contract import WorkerReport
from worker.store import keyspace

log = logging.getLogger(__name__)

REPORT_TTL_S = 15
BROKEN_TTL_S = 120
"""How long a host that gave up is remembered with its reason."""
How = Literal["hand back", "finish"]
EVERY_HOST = "*"


class OtherSecret(Exception):
    """The key secret here is not the one that certificates of this Redis are bound to."""


class HalfRestored(Exception):
    """This Redis holds a part of a backup: attempts and certificates would be missing."""


def publish_keys(redis: Redis, key_commitment: str, signing_key: str) -> None:
    """Binds this Redis to a key secret, the first time; afterwards only checks.

    Raises:
        OtherSecret: it is bound to another one.
        HalfRestored: a restore runs, or was cut off.
    """
    if redis.exists(keyspace.RESTORING):
        raise HalfRestored(
            "promptsmooth restore is at work on this Redis or was cut off: let it end, or run it "
            "again with --over"
        )
    redis.set(keyspace.KEY_COMMITMENT, key_commitment, nx=True)
    require_commitment(redis, key_commitment)
    redis.set(keyspace.SIGNING_KEY, signing_key)  # derived from the same secret


def require_commitment(redis: Redis, key_commitment: str) -> None:
    """Passes when certificates of this Redis are bound to this commitment.

    Raises:
        OtherSecret: to another one, or to none.
    """
    published = redis.get(keyspace.KEY_COMMITMENT)
    if published not in (key_commitment, key_commitment.encode()):
        raise OtherSecret(
            "the key secret is not the one this Redis is bound to: give every worker host the same "
            f"secret file, or remove the keys {keyspace.KEY_COMMITMENT} and {keyspace.SIGNING_KEY} "
            "to begin anew with this one"
        )


def announce(redis: Redis, report: WorkerReport, *, ttl_s: int = REPORT_TTL_S) -> None:
    """Says what a host does; silence for 15 s means that it is not alive."""
    with redis.pipeline() as pipeline:
        pipeline.sadd(keyspace.WORKERS, report.name)
        pipeline.set(keyspace.worker(report.name), report.model_dump_json(), ex=ttl_s)
        pipeline.execute()


def withdraw(redis: Redis, name: str) -> None:
    """Says that a host has stopped."""
    with redis.pipeline() as pipeline:
        pipeline.srem(keyspace.WORKERS, name)
        pipeline.delete(keyspace.worker(name))
        pipeline.execute()


def list_workers(redis: Redis) -> tuple[WorkerReport, ...]:
    """The hosts alive now, by name; hosts gone silent are forgotten.

    While a release is swapped hosts may speak a newer one than this process: what it cannot read
    is left out and said.
    """
    names = sorted(
        e.decode() if isinstance(e, bytes) else e for e in redis.smembers(keyspace.WORKERS)
    )
    if not names:
        return ()
    stored = dict(zip(names, redis.mget([keyspace.worker(n) for n in names]), strict=True))
    if silent := [name for name, data in stored.items() if data is None]:
        redis.srem(keyspace.WORKERS, *silent)
    reports = (_parse_report(name, data) for name, data in stored.items() if data is not None)
    return tuple(report for report in reports if report is not None)


def _parse_report(name: str, data: bytes | str) -> WorkerReport | None:
    try:
        return WorkerReport.model_validate_json(data)
    except ValidationError:
        do = "bring app and worker hosts to the same release"
        log.warning("host_unreadable", extra={"fields": {"host": name, "do": do}})
        return None


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
