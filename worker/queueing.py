"""Jobs into RQ, and what has become of them.

JSON instead of pickle, a job class that runs only our own tasks, ids only in arguments, and every
time limit given: RQ's defaults are 180 s for a job and 500 s for its result.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus

from worker import images_store, results
from worker.contract import QUEUE_NAME, TASK_CERTIFY, TASKS, CertificationJob
from worker.images_store import Image

State = Literal["queued", "running", "finished", "failed"]

RETRIES = 3
_RQ_RESULT_TTL_S = 3600
_RQ_FAILURE_TTL_S = 24 * 3600
_MIN_TIMEOUT_S = 900
_DURABLE_TRIES, _DURABLE_TRY_MS = 4, 400  # below the half second an answer may take
_SLOWEST_SAMPLES_PER_S = 5  # of one job among others on a slow CPU host, with a large model


class NotDurable(RedisError):
    """Redis did not write to disk in time."""


class ForbiddenTask(ValueError):
    """A job names something that is not a task of this service."""


class CertificationRqJob(Job):
    """An RQ job that can run nothing but our tasks, whatever Redis says."""

    @property
    def func(self) -> Callable[..., Any] | None:
        if self.func_name not in TASKS or self.instance is not None:
            raise ForbiddenTask("the job names no task of this service")
        function: Callable[..., Any] | None = super().func
        return function

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None


def create_app_redis(url: str) -> Redis:
    """The app's connection: half a second, no retry; who asks is told at once."""
    return Redis.from_url(
        url,
        socket_timeout=0.5,
        socket_connect_timeout=0.5,
        retry=RedisRetry(ExponentialBackoff(), 0),
    )


def create_worker_redis(url: str) -> Redis:
    """A worker's connection: it outlives a Redis that is away for a minute or so."""
    retry = RedisRetry(ExponentialBackoff(cap=2, base=0.1), 60)
    return Redis.from_url(
        url, retry=retry, retry_on_error=[RedisConnectionError, RedisTimeoutError]
    )


def create_queue(redis: Redis) -> Queue:
    """Our one queue."""
    return Queue(QUEUE_NAME, connection=redis, job_class=CertificationRqJob, serializer="json")


def job_timeout_s(job: CertificationJob) -> int:
    """A bound on a job's run, three times what a slow host needs."""
    return max(_MIN_TIMEOUT_S, 3 * job.request.samples_total // _SLOWEST_SAMPLES_PER_S)


def submit(
    redis: Redis,
    jobs: Sequence[tuple[CertificationJob, Image]],
    *,
    image_ttl_s: int,
    job_ttl_s: int,
) -> None:
    """Accepts jobs: all of them or none, and on disk before this returns where Redis can say so.

    Raises:
        redis.exceptions.RedisError: nothing is promised. Redis may still hold the jobs, if it went
            away while it answered; sending them again is harmless, for equal requests have equal
            certificates.
    """
    with one_connection(redis) as connection:  # WAITAOF waits for the writes of its own connection
        _enqueue(connection, jobs, image_ttl_s=image_ttl_s, job_ttl_s=job_ttl_s)
        wait_durable(connection)


def one_connection(redis: Redis) -> Redis:
    """A client of one connection, for `wait_durable`; a context manager."""
    return Redis(connection_pool=redis.connection_pool, single_connection_client=True)


def _enqueue(
    redis: Redis,
    jobs: Sequence[tuple[CertificationJob, Image]],
    *,
    image_ttl_s: int,
    job_ttl_s: int,
) -> None:
    queue = create_queue(redis)
    with redis.pipeline() as pipeline:
        pipeline.multi()  # RQ would begin the transaction itself, and refuses after other commands
        for job, image in jobs:
            images_store.put_image(pipeline, image, ttl_s=image_ttl_s)
            results.put_job(pipeline, job, ttl_s=job_ttl_s)
            queue.enqueue_call(
                TASK_CERTIFY,
                args=(job.id,),
                job_id=job.id,
                timeout=job_timeout_s(job),
                result_ttl=_RQ_RESULT_TTL_S,
                failure_ttl=_RQ_FAILURE_TTL_S,
                description="certify",
                retry=Retry(max=RETRIES),
                pipeline=pipeline,
            )
        pipeline.execute()


def wait_durable(redis: Redis) -> None:
    """Waits until what this connection wrote is on disk, a second and a half at most.

    Redis before 7.2 has no command for it, and one without an append-only file refuses it: there
    `appendfsync always` and persistence are the operator's part.

    Raises:
        NotDurable: the write is not on disk yet, though Redis holds it.
    """
    with suppress(ResponseError):
        for _ in range(_DURABLE_TRIES):
            local, *_ = redis.waitaof(1, 0, _DURABLE_TRY_MS)
            if local:
                return
        raise NotDurable("Redis did not confirm that the write is on disk")


def get_state(redis: Redis, certification_id: str) -> State:
    """What a stored job is doing. A job without any trace in RQ has failed."""
    if (result := results.find_result(redis, certification_id)) is not None:
        return result.status
    try:
        job = CertificationRqJob.fetch(certification_id, connection=redis, serializer="json")
        status = job.get_status(refresh=False)
    except (NoSuchJobError, InvalidJobOperation):
        status = None
    match status:
        case JobStatus.QUEUED | JobStatus.DEFERRED | JobStatus.SCHEDULED:
            return "queued"
        case JobStatus.STARTED:
            return "running"
        case JobStatus.FINISHED:
            # the result was written before RQ said so; read between the two looks, it is there now
            again = results.find_result(redis, certification_id)
            return "failed" if again is None else again.status
        case _:
            return "failed"
