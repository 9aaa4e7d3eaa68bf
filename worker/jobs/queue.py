"""Puts jobs into RQ.

Jobs are JSON instead of pickle, run only our own tasks and have only ids as arguments. Every time
limit is given, because RQ's defaults are 180 s for a job and 500 s for its result.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry, Worker
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job

from worker.contract import (
    QUEUE_NAME,
    TASK_CERTIFY,
    TASK_COUNT_RANGES,
    TASKS,
    CertificationJob,
    Failure,
)
from worker.contract.certificate.document import FailedResult
from worker.contract.image import Image
from worker.jobs.priority import PriorityQueue, list_waiting
from worker.store import hosts, images, keyspace
from worker.store.counters import count_event
from worker.store.durable import one_connection, wait_durable
from worker.store.jobs import accepted, records, results

RETRIES = 3
_RQ_RESULT_TTL_S = 60  # nobody asks RQ about a job that has its result
_RQ_FAILURE_TTL_S = 24 * 3600
_MIN_TIMEOUT_S = 900
_HELP_TTL_S = 60
_SLOWEST_SAMPLES_PER_S = 5.0  # of one job among others on a slow CPU host, with a large model
UNREADABLE = "its record cannot be read"
ROOM_S = 3600
"""Added to a job's time limit in RQ, because a job may wait for the engine at no cost."""


class ForbiddenTask(ValueError):
    """A job names a function that is not a task of this service."""


class CertificationRqJob(Job):
    """An RQ job that runs only our tasks, whatever is stored in Redis."""

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


def create_queue(redis: Redis, name: str = QUEUE_NAME) -> PriorityQueue:
    """One of our queues. A worker process serves exactly one queue."""
    return PriorityQueue(name, connection=redis, job_class=CertificationRqJob, serializer="json")


def add_job(queue: Queue, pipeline: Pipeline, task: str, *, job_id: str, timeout_s: int) -> None:
    """Puts a stored job into a queue, within an open transaction."""
    accepted.note(pipeline, queue.name, job_id, time.time())
    queue.enqueue_call(
        task,
        args=(job_id,),
        job_id=job_id,
        timeout=timeout_s,
        result_ttl=_RQ_RESULT_TTL_S,
        failure_ttl=_RQ_FAILURE_TTL_S,
        description=queue.name,
        retry=Retry(max=RETRIES, enqueue_at_front=True),
        pipeline=pipeline,
    )


def job_timeout_s(job: CertificationJob, samples_per_s: float | None = None) -> int:
    """RQ's time limit for a job: three times what it needs, and `ROOM_S` to wait for the engine.

    Args:
        job: the job, whose samples are limited.
        samples_per_s: the speed of the slowest host for one job among others. If it is None, a very
            slow host is assumed.
    """
    needs_s = job.request.samples_total / (samples_per_s or _SLOWEST_SAMPLES_PER_S)
    return max(_MIN_TIMEOUT_S, math.ceil(3 * needs_s)) + ROOM_S


def _find_speeds(redis: Redis) -> dict[str, float]:
    """For each model, the lowest speed that a host announces, divided by its concurrent jobs.

    While urgent jobs run, the others have a quarter of the engine.
    """
    speeds: dict[str, float] = {}
    for report in hosts.list_workers(redis):
        for model_id, speed in report.samples_per_s.items():
            shared = speed / (4 * report.rq_workers)
            speeds[model_id] = min(shared, speeds.get(model_id, shared))
    return speeds


def accept_jobs(
    redis: Redis,
    jobs: Sequence[tuple[CertificationJob, Image]],
    *,
    image_ttl_s: int,
    job_ttl_s: int,
    watch: Callable[[Pipeline], None] = lambda _: None,
    alongside: Callable[[Pipeline], None] = lambda _: None,
) -> None:
    """Accepts all of the jobs or none. They are on disk before this returns, if Redis can tell.

    Args:
        redis: where they go.
        jobs: with their prepared images.
        image_ttl_s, job_ttl_s: how long both are kept; an image as long as its job until that has
            ended (`images.let_go`), or a service that stands still for a day would lose it.
        watch: called before the transaction begins, to watch keys and look at them.
        alongside: adds commands to the transaction.

    Raises:
        redis.exceptions.WatchError: a watched key changed; nothing is stored.
        redis.exceptions.RedisError: nothing is promised. Redis may still hold the jobs, if it went
            away while it answered; sending them again is harmless, for equal requests have equal
            certificates.
    """
    queue, speeds = create_queue(redis), _find_speeds(redis)
    with one_connection(redis) as connection:
        with connection.pipeline() as pipeline:
            watch(pipeline)
            pipeline.multi()  # RQ would begin it itself, and refuses after other commands
            for job, image in jobs:
                sha256 = job.request.input.sha256
                images.put_image(pipeline, sha256, image, ttl_s=max(image_ttl_s, job_ttl_s))
                records.put_job(pipeline, job, ttl_s=job_ttl_s)
                timeout_s = job_timeout_s(job, speeds.get(job.request.model.id))
                add_job(queue, pipeline, TASK_CERTIFY, job_id=job.id, timeout_s=timeout_s)
            alongside(pipeline)
            pipeline.execute()
        wait_durable(connection)


def enqueue_again(redis: Redis, certification_id: str, *, ttl_s: int) -> bool:
    """Enqueues an accepted job that RQ has no trace of; False when its own record has expired."""
    job = records.find_job(redis, certification_id)
    if job is None:
        return False
    with redis.pipeline() as pipeline:
        pipeline.multi()
        pipeline.expire(keyspace.job(job.id), ttl_s)
        records.note_priority(pipeline, job, ttl_s=ttl_s)
        add_job(
            create_queue(redis),
            pipeline,
            TASK_CERTIFY,
            job_id=job.id,
            timeout_s=job_timeout_s(job),
        )
        pipeline.execute()
    return True


def give_up(redis: Redis, certification_id: str, reason: str, *, ttl_s: int) -> None:
    """Ends a job all of whose attempts were cut off, with the reason of the last one."""
    failure = Failure(code="certification_lost", detail=describe_attempts(reason))
    if results.put_result(redis, certification_id, FailedResult(failure=failure), ttl_s=ttl_s):
        count_event(redis, "parked")


def describe_attempts(reason: str) -> str:
    """What is said of a job that was given up."""
    return (
        "Its last attempts were cut off and came no further, or the engine ended under each; the "
        f"last one because {reason}. Send it again; if that happens twice, the operator finds more "
        "in the worker's log."
    )


def ask_for_help(redis: Redis, job: CertificationJob, run: str, *, at_most: int) -> int:
    """Asks other workers to count ranges of a run; returns how many were asked.

    As many as there are others, and none while jobs wait: then no worker is idle. One that is
    asked and not free within a minute is not wanted any more.
    """
    queue = create_queue(redis)
    workers = sum(one.rq_workers for one in hosts.list_workers(redis) if one.ready)
    number = min(at_most, workers if job.priority == "urgent" else workers - 1)
    if number < 1 or any(list_waiting(redis).values()):
        return 0
    for _ in range(number):
        queue.enqueue_call(
            TASK_COUNT_RANGES,
            args=(job.id, run),
            timeout=job_timeout_s(job),
            ttl=_HELP_TTL_S,
            result_ttl=_HELP_TTL_S,
            failure_ttl=_RQ_RESULT_TTL_S,
            description="count ranges",
        )
    return number


def free_jobs_of(redis: Redis, hostname: str, pid: int) -> None:
    """Has the janitor take up at once what a worker ran that is known to be dead.

    Args:
        redis: where the worker was registered.
        hostname, pid: of the worker, as its own parent knows them.
    """
    for worker in Worker.all(redis, serializer="json"):
        if (worker.hostname, worker.pid) == (hostname, pid):
            for execution in worker.get_current_executions(refresh=True):
                for queue in worker.queues:
                    key = queue.started_job_registry.key
                    redis.zadd(key, {execution.composite_key: 1}, xx=True)


def end_job(redis: Redis, job_id: str) -> None:
    """Takes a job that has a result from the queue, or stops the work-horse that runs it.

    One that a worker has taken and not started yet ends by itself when it sees the result.
    """
    if create_queue(redis).remove(job_id):
        with suppress(NoSuchJobError):
            fetch_job(redis, job_id).delete(remove_from_queue=False)
    else:
        with suppress(NoSuchJobError, InvalidJobOperation):
            send_stop_job_command(redis, job_id, serializer="json")


def fetch_job(redis: Redis, job_id: str) -> Job:
    """RQ's own record of a job. NoSuchJobError where it has none."""
    return CertificationRqJob.fetch(job_id, connection=redis, serializer="json")
