"""Records in the audit log how accepted jobs ended.

The app writes the log, but a worker ends the job, perhaps on another host. So before the app
accepts a job, it notes the id in Redis; every few seconds it looks which of the noted jobs have a
result. An outcome becomes an entry at least once, also across restarts, and soon but not at once.
Whoever writes it claims it first, so two writers that are alive do not both write it: an app that
stood still until another took over, for one.
If a job is purged within seconds of its end, the only entry is the one that says who purged it.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.server.audit_log.entries import describe_learning_outcome, describe_outcome
from app.server.audit_log.trail import AuditTrail
from models.files.audit_log import AuditLog, AuditLogUnavailable
from models.log import get_logger
from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME
from worker.learning import store as learning_store
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs import records, results
from worker.store.jobs.damaged import RecordDamaged

_log = get_logger(__name__)

LOOK_S = 2.0
_AT_A_TIME = 200
_NEVER_ACCEPTED_S = 60  # a noted id that is not a job by then was refused after all
_WRITER_TTL_S = 15
_CLAIMED_S = 60  # a writer that ended in between leaves the outcome to the next one after that

Describe = Callable[[Redis, str], dict[str, Any] | None]


def await_outcomes(
    trail: AuditTrail, redis: Redis, queue_name: str, ids: Sequence[str], *, ttl_s: int
) -> None:
    """Notes, before jobs are accepted, that their outcomes must be logged."""
    if trail.log is None:
        return
    awaited, now = keyspace.audit_awaited(queue_name), time.time()
    redis.zadd(awaited, dict.fromkeys(ids, now))
    redis.expire(awaited, ttl_s)


@contextmanager
def writing_outcomes(trail: AuditTrail, redis: Redis) -> Iterator[None]:
    """Writes outcomes to the log while the block runs."""
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
        with suppress(RedisError):  # Redis is away; the next look finds the same jobs
            if _is_writer(redis, own):
                _write_all(log, redis)


def _write_all(log: AuditLog, redis: Redis) -> None:
    """Writes outcomes. An unexpected error ends this look, but not later ones."""
    try:
        write_outcomes(log, redis)
    except RedisError:
        raise
    except Exception as error:
        _log.error("audit_outcomes_failed", error=type(error).__name__)


def _is_writer(redis: Redis, own: str) -> bool:
    """Whether this app is the writer. It stays the writer until it is silent for some seconds."""
    if redis.set(keyspace.AUDIT_WRITER, own, nx=True, ex=_WRITER_TTL_S):
        return True
    if redis.get(keyspace.AUDIT_WRITER) not in (own, own.encode()):
        return False
    redis.expire(keyspace.AUDIT_WRITER, _WRITER_TTL_S)
    return True


def write_outcomes(log: AuditLog, redis: Redis) -> None:
    """Writes an entry for each awaited job that has ended."""
    kinds: tuple[tuple[str, str, Describe], ...] = (
        (QUEUE_NAME, "certify.ended", _describe_certification),
        (LEARNING_QUEUE_NAME, "learn.ended", _describe_learning),
    )
    for queue_name, action, describe in kinds:
        for job_id in _list_ended(redis, queue_name):
            fields = describe(redis, job_id)
            if fields is None and _is_being_accepted(redis, queue_name, job_id):
                continue
            if fields is not None:
                claim = keyspace.audit_written(job_id)
                if not redis.set(claim, "", nx=True, ex=_CLAIMED_S):
                    continue
                if not write_entry(log, action, fields):
                    redis.delete(claim)
                    return
            redis.zrem(keyspace.audit_awaited(queue_name), job_id)


def _list_ended(redis: Redis, queue_name: str) -> list[str]:
    """Awaited jobs that are no longer open, or not open yet."""
    keys = [keyspace.audit_awaited(queue_name), keyspace.accepted(queue_name)]
    found: list[Any] = redis.zdiff(keys)
    return [as_text(each) for each in found[:_AT_A_TIME]]


def _is_being_accepted(redis: Redis, queue_name: str, job_id: str) -> bool:
    noted_at = redis.zscore(keyspace.audit_awaited(queue_name), job_id)
    return noted_at is not None and time.time() - float(noted_at) < _NEVER_ACCEPTED_S


def write_entry(log: AuditLog, action: str, fields: dict[str, Any]) -> bool:
    """Writes an entry about what no request did. Returns whether it is on disk."""
    try:
        log.record(action, **fields)
    except AuditLogUnavailable as error:
        _log.error("audit_log_unavailable", errno=error.errno)
        return False
    return True


def _describe_certification(redis: Redis, job_id: str) -> dict[str, Any] | None:
    try:
        job, result = records.find_job(redis, job_id), results.find_result(redis, job_id)
    except RecordDamaged:  # it keeps no other outcome from the log
        return {"certification_id": job_id, "status": "failed", "code": "record_damaged"}
    return None if job is None or result is None else describe_outcome(job, result)


def _describe_learning(redis: Redis, job_id: str) -> dict[str, Any] | None:
    job, result = learning_store.find_job(redis, job_id), learning_store.find_result(redis, job_id)
    return None if job is None or result is None else describe_learning_outcome(job, result)
