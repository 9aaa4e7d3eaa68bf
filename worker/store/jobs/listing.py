"""Which certifications there are, newest first: everybody's, and each owner's.

Sorted sets of ids by the microsecond of submission. An entry goes with its job: when that is
purged, and when its time to live has passed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.client import Pipeline

from worker.contract import CertificationJob
from worker.store import keyspace

_AT_ONCE = 200


@dataclass(frozen=True)
class ListedJob:
    """A certification's place in the list: the microsecond it was sent in, and its id."""

    sent_us: int
    id: str


def microseconds(job: CertificationJob) -> int:
    """When a job was sent, as lists have it."""
    return round(job.submitted_at.timestamp() * 1_000_000)


def put(redis: "Redis | Pipeline", job: CertificationJob, *, ttl_s: int) -> None:
    """Lists a job, and drops what was listed longer ago than jobs live."""
    sent_us = microseconds(job)
    for key in (keyspace.ALL_LISTED, keyspace.listed(job.owner)):
        redis.zadd(key, {job.id: sent_us})
        redis.zremrangebyscore(key, "-inf", sent_us - ttl_s * 1_000_000)
        redis.expire(key, ttl_s)


def remove(pipeline: Pipeline, job: CertificationJob) -> None:
    """Takes a job from the lists."""
    for key in (keyspace.ALL_LISTED, keyspace.listed(job.owner)):
        pipeline.zrem(key, job.id)


def is_listed(redis: Redis, owner: str | None, certification_id: str) -> bool:
    """Whether a certification is in the list of an owner; None: in everybody's."""
    key = keyspace.ALL_LISTED if owner is None else keyspace.listed(owner)
    return redis.zscore(key, certification_id) is not None


def walk(
    redis: Redis, owner: str | None, *, after: ListedJob | None, until_us: int | None, since_us: int
) -> Iterator[ListedJob]:
    """The entries of an owner, or of everybody, from the newest to the oldest.

    Args:
        redis: where they are.
        owner: whose; None: everybody's.
        after: where an earlier walk stopped: this entry and all before it are left out.
        until_us, since_us: the times between which they were sent, both included.
    """
    key = keyspace.ALL_LISTED if owner is None else keyspace.listed(owner)
    bounds = (until_us, None if after is None else after.sent_us)
    newest = min((bound for bound in bounds if bound is not None), default="+inf")
    start = 0
    while True:
        found = cast(
            "list[tuple[bytes, float]]",
            redis.zrevrangebyscore(key, newest, since_us, start, _AT_ONCE, withscores=True),
        )
        for member, score in found:
            entry = ListedJob(int(score), member.decode())
            if after is None or (entry.sent_us, entry.id) < (after.sent_us, after.id):
                yield entry
        if len(found) < _AT_ONCE:
            return
        start += _AT_ONCE
