"""The jobs that were accepted and have no result yet, so that no accepted job is ever lost.

RQ's own records live in several keys that are not written together; this index is written in the
transaction that accepts a job, and left when the job has its result.
"""

from typing import Any

from redis import Redis
from redis.client import Pipeline

from worker.store import keyspace
from worker.store.connection import as_text


def note(pipeline: Pipeline, queue_name: str, job_id: str, at: float) -> None:
    """Records that a job is accepted, within the transaction that accepts it."""
    pipeline.zadd(keyspace.accepted(queue_name), {job_id: at})


def settle(redis: "Redis | Pipeline", queue_name: str, job_id: str) -> None:
    """Records that a job has its result."""
    redis.zrem(keyspace.accepted(queue_name), job_id)


def is_open(redis: Redis, queue_name: str, job_id: str) -> bool:
    """Whether a job was accepted and has no result."""
    return redis.zscore(keyspace.accepted(queue_name), job_id) is not None


def list_open(redis: Redis, queue_name: str, *, before: float) -> tuple[str, ...]:
    """The jobs accepted before a time that have no result, the oldest first."""
    found: list[Any] = redis.zrangebyscore(keyspace.accepted(queue_name), "-inf", before)
    return tuple(map(as_text, found))


def find_oldest(redis: Redis, queue_name: str) -> float | None:
    """When the oldest job without a result was accepted, in seconds since the epoch."""
    found: list[Any] = redis.zrange(keyspace.accepted(queue_name), 0, 0, withscores=True)
    return float(found[0][1]) if found else None


def count_open(redis: Redis, queue_name: str) -> int:
    """The number of jobs that were accepted and have no result."""
    return int(redis.zcard(keyspace.accepted(queue_name)))
