"""Jobs as they were accepted, one by one and as batches, each with a time to live."""

from collections.abc import Sequence
from functools import partial

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline

from worker.contract import CertificationJob, RefusedImage
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs import listing
from worker.store.jobs.damaged import (
    RecordDamaged,
    parse_or_none,
    parse_record,
    read_all,
    read_record,
)

_REFUSED: TypeAdapter[tuple[RefusedImage, ...]] = TypeAdapter(tuple[RefusedImage, ...])


def put_job(redis: "Redis | Pipeline", job: CertificationJob, *, ttl_s: int) -> None:
    """Stores a job, lists it, and has it hold its image."""
    redis.set(keyspace.job(job.id), job.model_dump_json(), ex=ttl_s)
    cost = f"{job.request.samples_total} {job.request.model.id}"
    redis.set(keyspace.cost(job.id), cost, ex=ttl_s)
    note_priority(redis, job, ttl_s=ttl_s)
    listing.put(redis, job, ttl_s=ttl_s)
    hold(redis, keyspace.image_holders(job.request.input.sha256), keyspace.job(job.id), ttl_s=ttl_s)
    if job.batch_id is not None:
        redis.rpush(keyspace.batch(job.batch_id), job.id)
        redis.expire(keyspace.batch(job.batch_id), ttl_s)


def note_priority(redis: "Redis | Pipeline", job: CertificationJob, *, ttl_s: int) -> None:
    """Stores a job's priority where the queue finds it. Nothing is stored for a normal one."""
    if job.priority != "normal":
        redis.set(keyspace.priority(job.id), job.priority, ex=ttl_s)


def hold(redis: "Redis | Pipeline", holders: str, job_key: str, *, ttl_s: int) -> None:
    """Adds a job to these holders, so that purging another job leaves what they hold."""
    redis.sadd(holders, job_key)
    redis.expire(holders, ttl_s)


def find_job(redis: Redis, certification_id: str) -> CertificationJob | None:
    """The job of a certification, or None.

    Raises:
        RecordDamaged: the stored job cannot be read.
    """
    read = partial(redis.get, keyspace.job(certification_id))
    data = read_record(read, certification_id, "job")
    if data is None:
        return None
    return parse_record(CertificationJob.model_validate_json, data, certification_id, "job")


def find_jobs(redis: Redis, certification_ids: Sequence[str]) -> list[CertificationJob | None]:
    """The jobs of several certifications; None for each that is missing or cannot be read."""
    if not certification_ids:
        return []
    keys = [keyspace.job(each) for each in certification_ids]
    stored = read_all(redis, keys, certification_ids, "job in a list")
    return [
        None if data is None else parse_or_none(CertificationJob, data, each, "job in a list")
        for each, data in zip(certification_ids, stored, strict=True)
    ]


def find_batch(redis: Redis, batch_id: str) -> tuple[str, ...]:
    """The certification ids of a batch in the order of its images; empty if there is no batch.

    Raises:
        RecordDamaged: the list cannot be read.
    """
    read = partial(redis.lrange, keyspace.batch(batch_id), 0, -1)
    return tuple(as_text(entry) for entry in read_record(read, batch_id, "batch"))


def put_refused(
    redis: "Redis | Pipeline", batch_id: str, refused: Sequence[RefusedImage], *, ttl_s: int
) -> None:
    """Stores which images of a batch could not be used."""
    data = _REFUSED.dump_json(tuple(refused))
    redis.set(keyspace.batch_refused(batch_id), data, ex=ttl_s)


def find_refused(redis: Redis, batch_id: str) -> tuple[RefusedImage, ...]:
    """Which images of a batch could not be used; none if that cannot be read."""
    try:
        read = partial(redis.get, keyspace.batch_refused(batch_id))
        data = read_record(read, batch_id, "refused images")
        if data is None:
            return ()
        return parse_record(_REFUSED.validate_json, data, batch_id, "refused images")
    except RecordDamaged:
        return ()
