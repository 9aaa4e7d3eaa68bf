"""Jobs as they were accepted, one by one and as batches, each with a time to live."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline

from worker.contract import CertificationJob, RefusedImage
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs import listing
from worker.store.jobs.damaged import parse_or_none, parse_record

_REFUSED: TypeAdapter[tuple[RefusedImage, ...]] = TypeAdapter(tuple[RefusedImage, ...])


def put_job(redis: "Redis | Pipeline", job: CertificationJob, *, ttl_s: int) -> None:
    """Stores a job, lists it, and has it hold its image."""
    redis.set(keyspace.job(job.id), job.model_dump_json(), ex=ttl_s)
    cost = f"{job.request.samples_total} {job.request.model.id}"
    redis.set(keyspace.cost(job.id), cost, ex=ttl_s)
    listing.put(redis, job, ttl_s=ttl_s)
    hold(redis, keyspace.image_holders(job.request.input.sha256), keyspace.job(job.id), ttl_s=ttl_s)
    if job.batch_id is not None:
        redis.rpush(keyspace.batch(job.batch_id), job.id)
        redis.expire(keyspace.batch(job.batch_id), ttl_s)


def hold(redis: "Redis | Pipeline", holders: str, job_key: str, *, ttl_s: int) -> None:
    """Adds a job to these holders, so that purging another job leaves what they hold."""
    redis.sadd(holders, job_key)
    redis.expire(holders, ttl_s)


def find_job(redis: Redis, certification_id: str) -> CertificationJob | None:
    """The job of a certification, or None.

    Raises:
        RecordDamaged: the stored job cannot be read.
    """
    data = redis.get(keyspace.job(certification_id))
    if data is None:
        return None
    return parse_record(CertificationJob.model_validate_json, data, certification_id, "job")


def find_jobs(redis: Redis, certification_ids: Sequence[str]) -> list[CertificationJob | None]:
    """The jobs of several certifications; None for each that is missing or cannot be read."""
    if not certification_ids:
        return []
    stored = redis.mget([keyspace.job(each) for each in certification_ids])
    return [
        None if data is None else parse_or_none(CertificationJob, data, each, "job in a list")
        for each, data in zip(certification_ids, stored, strict=True)
    ]


def find_batch(redis: Redis, batch_id: str) -> tuple[str, ...]:
    """The certification ids of a batch in the order of its images; empty if there is no batch."""
    return tuple(as_text(entry) for entry in redis.lrange(keyspace.batch(batch_id), 0, -1))


def put_refused(
    redis: "Redis | Pipeline", batch_id: str, refused: Sequence[RefusedImage], *, ttl_s: int
) -> None:
    """Stores which images of a batch could not be used."""
    data = _REFUSED.dump_json(tuple(refused))
    redis.set(keyspace.batch_refused(batch_id), data, ex=ttl_s)


def find_refused(redis: Redis, batch_id: str) -> tuple[RefusedImage, ...]:
    """Which images of a batch could not be used."""
    data = redis.get(keyspace.batch_refused(batch_id))
    return () if data is None else _REFUSED.validate_json(data)
