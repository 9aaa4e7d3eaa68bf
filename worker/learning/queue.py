"""Learnings in RQ: submits them and looks up their state. Must not import torch."""

from collections.abc import Sequence
from typing import Literal

from redis import Redis

from worker.contract import LEARNING_QUEUE_NAME, TASK_LEARN, Failure
from worker.contract.image import Image
from worker.contract.learning import FailedLearning, LearningJob
from worker.jobs.queue import add_job, create_queue, describe_attempts
from worker.jobs.state import look_up_state
from worker.learning import store
from worker.store import images as images_store
from worker.store.counters import count_event
from worker.store.durable import one_connection, wait_durable
from worker.store.jobs.callbacks import Callback, note_callback

LearningStatus = Literal["queued", "running", "finished", "failed", "cancelled"]

_MIN_TIMEOUT_S = 3600
_SLOWEST_IMAGES_PER_S = 5


def submit_learning(
    redis: Redis,
    job: LearningJob,
    images: Sequence[Image],
    *,
    image_ttl_s: int,
    job_ttl_s: int,
    callback: Callback | None = None,
) -> None:
    """Accepts a learning. It is on disk before this returns, if Redis can confirm that.

    The images are stored first, one by one, because together they are too large for one command.
    If the job is never stored, the sweeper shortens their time to live.

    Raises:
        redis.exceptions.RedisError: the learning may not have been accepted.
    """
    queue = create_queue(redis, LEARNING_QUEUE_NAME)
    with one_connection(redis) as connection:
        for labelled, image in zip(job.request.images, images, strict=True):
            ttl_s = max(image_ttl_s, job_ttl_s)
            images_store.put_image(connection, labelled.sha256, image, ttl_s=ttl_s)
        with connection.pipeline() as pipeline:
            pipeline.multi()  # RQ cannot start a transaction once the pipeline holds commands
            store.put_job(pipeline, job, ttl_s=job_ttl_s)
            if callback is not None:
                note_callback(pipeline, callback, ttl_s=job_ttl_s)
            add_job(queue, pipeline, TASK_LEARN, job_id=job.id, timeout_s=timeout_s(job))
            pipeline.execute()
        wait_durable(connection)


def enqueue_again(redis: Redis, learning_id: str, *, ttl_s: int) -> bool:
    """Enqueues an accepted learning that RQ has lost. False if its record has expired."""
    job = store.find_job(redis, learning_id)
    if job is None:
        return False
    with redis.pipeline() as pipeline:
        pipeline.multi()
        store.put_job(pipeline, job, ttl_s=ttl_s)
        queue = create_queue(redis, LEARNING_QUEUE_NAME)
        add_job(queue, pipeline, TASK_LEARN, job_id=job.id, timeout_s=timeout_s(job))
        pipeline.execute()
    return True


def give_up(redis: Redis, learning_id: str, reason: str, *, ttl_s: int) -> None:
    """Ends a learning that has used up its attempts, with the reason why the last one ended."""
    failure = Failure(code="learning_lost", detail=describe_attempts(reason))
    if store.put_result(redis, learning_id, FailedLearning(failure=failure), ttl_s=ttl_s):
        count_event(redis, "parked")


def timeout_s(job: LearningJob) -> int:
    """The time limit of a learning's run: three times what a slow host needs."""
    passes = job.request.settings.epochs * len(job.request.images)
    return max(_MIN_TIMEOUT_S, 3 * passes // _SLOWEST_IMAGES_PER_S)


def get_status(redis: Redis, learning_id: str) -> LearningStatus:
    """The status of a stored learning."""

    def find_status() -> Literal["finished", "failed", "cancelled"] | None:
        result = store.find_result(redis, learning_id)
        return None if result is None else result.status

    return look_up_state(redis, LEARNING_QUEUE_NAME, learning_id, find_status)
