"""What became of accepted jobs, in the audit log.

The app writes the log and a worker ends the job, perhaps on another host. So the app notes in Redis
whose outcome it waits for, before it accepts a job, and looks every few seconds which of them have
a result. An outcome is an entry once at least, also after a restart, and soon, not at once: one
that is purged within seconds of its end leaves only the entry that says who purged it.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.server.audit_log.entries import describe_learning_outcome, describe_outcome
from app.server.audit_log.log import AuditLog, AuditLogUnavailable
from app.server.audit_log.trail import AuditTrail
from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME
from worker.learning import store as learning_store
from worker.store import keyspace
from worker.store.jobs import records, results

_log = logging.getLogger(__name__)

LOOK_S = 2.0
_AT_A_TIME = 200
_NEVER_ACCEPTED_S = 60  # what was noted and is no job by then was refused after all
_WRITER_TTL_S = 15

Describe = Callable[[Redis, str], dict[str, Any] | None]


def await_outcomes(
    trail: AuditTrail, redis: Redis, queue_name: str, ids: Sequence[str], *, ttl_s: int
) -> None:
    """Says, before jobs are accepted, that the log is to have what becomes of them."""
    if trail.log is None:
        return
    awaited, now = keyspace.audit_awaited(queue_name), time.time()
    redis.zadd(awaited, dict.fromkeys(ids, now))
    redis.expire(awaited, ttl_s)


@contextmanager
def writing_outcomes(trail: AuditTrail, redis: Redis) -> Iterator[None]:
    """While this lasts, outcomes become entries."""
    if trail.log is None:
        yield
        return
    ending = threading.Event()
    thread = threading.Thread(target=_run, args=(trail.log, redis, ending), name="audit-outcomes")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _run(log: AuditLog, redis: Redis, ending: threading.Event) -> None:
    own = uuid.uuid4().hex
    while not ending.wait(LOOK_S):
        with suppress(RedisError):  # it is away: the next look finds what this one would have
            if _is_writer(redis, own):
                _write_all(log, redis)


def _write_all(log: AuditLog, redis: Redis) -> None:
    """Writes outcomes; what nobody foresaw ends this look and not all later ones."""
    try:
        write_outcomes(log, redis)
    except RedisError:
        raise
    except Exception as error:
        fields = {"error": type(error).__name__}
        _log.error("audit_outcomes_failed", extra={"fields": fields})


def _is_writer(redis: Redis, own: str) -> bool:
    """Whether this app writes; the one that does keeps on until it is gone for some seconds."""
    if redis.set(keyspace.AUDIT_WRITER, own, nx=True, ex=_WRITER_TTL_S):
        return True
    if redis.get(keyspace.AUDIT_WRITER) not in (own, own.encode()):
        return False
    redis.expire(keyspace.AUDIT_WRITER, _WRITER_TTL_S)
    return True


def write_outcomes(log: AuditLog, redis: Redis) -> None:
    """Writes an entry for each awaited job that has ended by now."""
    kinds: tuple[tuple[str, str, Describe], ...] = (
        (QUEUE_NAME, "certify.ended", _describe_certification),
        (LEARNING_QUEUE_NAME, "learn.ended", _describe_learning),
    )
    for queue_name, action, describe in kinds:
        for job_id in _list_ended(redis, queue_name):
            fields = describe(redis, job_id)
            if fields is None and _is_being_accepted(redis, queue_name, job_id):
                continue
            if fields is not None and not _write(log, action, fields):
                return
            redis.zrem(keyspace.audit_awaited(queue_name), job_id)


def _list_ended(redis: Redis, queue_name: str) -> list[str]:
    """Awaited jobs that are not open any more, or not yet."""
    keys = [keyspace.audit_awaited(queue_name), keyspace.accepted(queue_name)]
    found: list[Any] = redis.zdiff(keys)
    return [each.decode() if isinstance(each, bytes) else each for each in found[:_AT_A_TIME]]


def _is_being_accepted(redis: Redis, queue_name: str, job_id: str) -> bool:
    noted_at = redis.zscore(keyspace.audit_awaited(queue_name), job_id)
    return noted_at is not None and time.time() - float(noted_at) < _NEVER_ACCEPTED_S


def _write(log: AuditLog, action: str, fields: dict[str, Any]) -> bool:
    try:
        log.record(action, **fields)
    except AuditLogUnavailable as error:
        _log.error("audit_log_unavailable", extra={"fields": {"errno": error.errno}})
        return False
    return True


def _describe_certification(redis: Redis, job_id: str) -> dict[str, Any] | None:
    job, result = records.find_job(redis, job_id), results.find_result(redis, job_id)
    return None if job is None or result is None else describe_outcome(job, result)


def _describe_learning(redis: Redis, job_id: str) -> dict[str, Any] | None:
    job, result = learning_store.find_job(redis, job_id), learning_store.find_result(redis, job_id)
    return None if job is None or result is None else describe_learning_outcome(job, result)
