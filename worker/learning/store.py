"""Learnings in Redis: job, curve, checkpoint and result, each with a time to live.

A result is written only once. Cancelling a learning writes a result, and a running learner stops
when it sees one.
"""

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline

from worker.contract import LEARNING_QUEUE_NAME
from worker.contract.learning import LearnedEpoch, LearningJob, LearningResult
from worker.store import keyspace
from worker.store.jobs import accepted
from worker.store.jobs.results import hold

_RESULT: TypeAdapter[LearningResult] = TypeAdapter(LearningResult)


def put_job(redis: "Redis | Pipeline", job: LearningJob, *, ttl_s: int) -> None:
    """Stores a job as the latest for its request, and makes it hold its images."""
    key = keyspace.learning_job(job.id)
    redis.set(key, job.model_dump_json(), ex=ttl_s)
    redis.set(keyspace.learning_request(job.request_sha256), job.id, ex=ttl_s)
    for image in job.request.images:
        hold(redis, keyspace.image_holders(image.sha256), key, ttl_s=ttl_s)


def find_job(redis: Redis, learning_id: str) -> LearningJob | None:
    """The job of a learning, or None if it is not stored."""
    data = redis.get(keyspace.learning_job(learning_id))
    return None if data is None else LearningJob.model_validate_json(data)


def find_equal(redis: Redis, job: LearningJob) -> LearningJob | None:
    """The latest job stored for the same request by the same caller, or None."""
    found = redis.get(keyspace.learning_request(job.request_sha256))
    return find_job(redis, found.decode()) if isinstance(found, bytes) else None


def put_epoch(
    redis: Redis, learning_id: str, epoch: LearnedEpoch, checkpoint: bytes, *, ttl_s: int
) -> None:
    """Stores an epoch together with the checkpoint after it."""
    curve = keyspace.learning_curve(learning_id)
    with redis.pipeline() as pipeline:
        pipeline.hset(curve, str(epoch.number), epoch.model_dump_json())
        pipeline.expire(curve, ttl_s)
        pipeline.set(keyspace.learning_checkpoint(learning_id), checkpoint, ex=ttl_s)
        pipeline.execute()


def find_curve(redis: Redis, learning_id: str) -> tuple[LearnedEpoch, ...]:
    """The epochs done so far, in order."""
    stored = redis.hvals(keyspace.learning_curve(learning_id))
    epochs = map(LearnedEpoch.model_validate_json, stored)
    return tuple(sorted(epochs, key=lambda epoch: epoch.number))


def find_checkpoint(redis: Redis, learning_id: str) -> bytes | None:
    """The checkpoint after the last stored epoch; None before the first."""
    data = redis.get(keyspace.learning_checkpoint(learning_id))
    return data if isinstance(data, bytes) else None


def drop_checkpoint(redis: Redis, learning_id: str) -> None:
    """Deletes the checkpoint and the curve, so that the learning starts anew."""
    redis.delete(keyspace.learning_checkpoint(learning_id), keyspace.learning_curve(learning_id))


def put_result(redis: Redis, learning_id: str, result: LearningResult, *, ttl_s: int) -> bool:
    """Stores a result unless there already is one. Returns whether it was stored."""
    key = keyspace.learning_result(learning_id)
    stands = redis.set(key, result.model_dump_json(), ex=ttl_s, nx=True)
    redis.delete(keyspace.learning_checkpoint(learning_id))
    accepted.settle(redis, LEARNING_QUEUE_NAME, learning_id)
    return bool(stands)


def has_result(redis: Redis, learning_id: str) -> bool:
    """Whether a learning has a result. Does not read it."""
    return bool(redis.exists(keyspace.learning_result(learning_id)))


def find_result(redis: Redis, learning_id: str) -> LearningResult | None:
    """The result of a learning, or None if it has none yet."""
    data = redis.get(keyspace.learning_result(learning_id))
    return None if data is None else _RESULT.validate_json(data)
