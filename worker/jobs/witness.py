"""A witness in the queue: a job of its own in RQ, at priority batch, beside its certification."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Literal, cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from worker.contract import QUEUE_NAME, TASK_WITNESS, Failure
from worker.contract.image import Image
from worker.contract.witness import FailedWitness, WitnessResult
from worker.jobs.queue import add_job, create_queue, describe_attempts
from worker.jobs.state import look_up_state
from worker.store import keyspace
from worker.store.connection import when_there_is_room
from worker.store.durable import one_connection, wait_durable
from worker.store.jobs import accepted, records
from worker.store.jobs import witness as store

WitnessState = Literal["absent", "queued", "running", "finished", "failed"]

_PREFIX = "witness-"
_TIMEOUT_S = 3 * 3600  # of RQ; the search ends itself long before
LOST = Failure(code="witness_lost", detail=describe_attempts("it failed each time"))


def name_rq_job(certification_id: str) -> str:
    """The name of the witness of a certification in RQ."""
    return f"{_PREFIX}{certification_id}"


def find_certification_id(job_id: str) -> str | None:
    """The certification of a witness in RQ; None if the job is none."""
    return job_id.removeprefix(_PREFIX) if job_id.startswith(_PREFIX) else None


def ask_for_witness(redis: Redis, certification_id: str, *, ttl_s: int) -> None:
    """Queues the witness of a finished certification, on disk before this returns.

    Where it was asked for before, nothing happens, except that one which failed is tried again.
    """
    with one_connection(redis) as connection:
        if get_witness_state(connection, certification_id) == "failed":
            store.forget_witness(connection, certification_id)
            connection.delete(keyspace.witness_asked(certification_id))
        asked = keyspace.witness_asked(certification_id)
        with connection.pipeline() as pipeline:
            pipeline.watch(asked)  # type: ignore[no-untyped-call]  # redis-py has not typed it
            if pipeline.exists(asked):
                return
            pipeline.multi()
            pipeline.set(asked, "1", ex=ttl_s)
            _enqueue(redis, pipeline, certification_id, ttl_s=ttl_s)
            with suppress(WatchError):  # somebody else asked meanwhile
                pipeline.execute()
        wait_durable(connection)


def enqueue_again(redis: Redis, certification_id: str, *, ttl_s: int) -> bool:
    """Enqueues a witness that RQ has lost. False if its certification has expired."""
    if records.find_job(redis, certification_id) is None:
        return False
    with redis.pipeline() as pipeline:
        pipeline.multi()
        _enqueue(redis, pipeline, certification_id, ttl_s=ttl_s)
        pipeline.execute()
    return True


def _enqueue(redis: Redis, pipeline: Pipeline, certification_id: str, *, ttl_s: int) -> None:
    """Adds the job to an open transaction."""
    job_id = name_rq_job(certification_id)
    pipeline.set(keyspace.priority(job_id), "batch", ex=ttl_s)
    add_job(create_queue(redis), pipeline, TASK_WITNESS, job_id=job_id, timeout_s=_TIMEOUT_S)


def has_ended(redis: Redis, certification_id: str) -> bool:
    """Whether there is a witness, or that it failed."""
    return store.has_witness(redis, certification_id)


def give_up(redis: Redis, certification_id: str, reason: str) -> None:
    """Ends a witness that has used up its attempts, with the reason why the last one ended."""
    failure = Failure(code="witness_lost", detail=describe_attempts(reason))
    fail(redis, certification_id, failure)


def get_witness_state(redis: Redis, certification_id: str) -> WitnessState:
    """Where the witness of a certification stands."""

    def find_status() -> Literal["finished", "failed"] | None:
        found = store.find_witness(redis, certification_id)
        return None if found is None else found.status

    if not store.is_asked(redis, certification_id):
        return find_status() or "absent"
    found = look_up_state(redis, QUEUE_NAME, name_rq_job(certification_id), find_status)
    return cast(WitnessState, found)


def fail(redis: Redis, certification_id: str, failure: Failure) -> None:
    """Ends a witness that could not be looked for."""
    end(redis, certification_id, FailedWitness(failure=failure), {})


def end(
    redis: Redis, certification_id: str, result: WitnessResult, found: Mapping[str, Image]
) -> None:
    """Stores a witness with its images, and leaves the queue."""
    when_there_is_room(partial(store.put_witness, redis, certification_id, result, found))
    accepted.settle(redis, QUEUE_NAME, name_rq_job(certification_id))
