"""The state of a job: that of its stored result, or what RQ is doing with it."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import JobStatus

from worker.contract import QUEUE_NAME
from worker.jobs.queue import CertificationRqJob, fetch_job
from worker.store import keyspace
from worker.store.jobs import accepted, results
from worker.store.jobs.damaged import RecordDamaged, is_of_another_type

T = TypeVar("T", bound=str)

State = Literal["queued", "running", "finished", "failed", "cancelled"]
_STATUS = re.compile(rb'^{"status":"(finished|failed|cancelled)"')


def get_state(redis: Redis, certification_id: str) -> State:
    """The state of a stored job. It is right at every moment: see `look_up_state`."""

    def find_status() -> Literal["finished", "failed", "cancelled"] | None:
        result = results.find_result(redis, certification_id)
        return None if result is None else result.status

    return look_up_state(redis, QUEUE_NAME, certification_id, find_status)


def get_states(redis: Redis, certification_ids: Sequence[str]) -> list[State]:
    """The states of several stored jobs, in one request to Redis and without reading results."""
    with redis.pipeline(transaction=False) as pipeline:
        for each in certification_ids:
            pipeline.getrange(keyspace.result(each), 0, 31)
            pipeline.hget(CertificationRqJob.key_for(each), "status")
        answers = [_or_unknown(one) for one in pipeline.execute(raise_on_error=False)]
    pairs = zip(certification_ids, answers[::2], answers[1::2], strict=True)
    return [_read_state(redis, each, start, rq_status) for each, start, rq_status in pairs]


def _or_unknown(answer: Any) -> Any:
    """The answer; where the key holds another type, what no status is."""
    if isinstance(answer, Exception):
        if not is_of_another_type(answer):
            raise answer
        return b"?"
    return answer


def _read_state(redis: Redis, job_id: str, start: bytes, rq_status: bytes | None) -> State:
    if found := _STATUS.match(start):
        return cast(State, found[1].decode())
    waits = (JobStatus.QUEUED, JobStatus.DEFERRED, JobStatus.SCHEDULED)
    match None if start or rq_status is None else rq_status.decode(errors="replace"):
        case status if status in waits:
            return "queued"
        case JobStatus.STARTED:
            return "running"
        case _:
            try:
                return get_state(redis, job_id)
            except RecordDamaged:
                return "failed"


def look_up_state(
    redis: Redis, queue_name: str, job_id: str, find_status: Callable[[], T | None]
) -> T | Literal["queued", "running", "failed"]:
    """The status of a job's stored result, or what RQ is doing with it.

    An accepted job that RQ has lost counts as queued, because the janitor enqueues it again.
    """
    if (status := find_status()) is not None:
        return status
    match _find_rq_status(redis, job_id):
        case JobStatus.QUEUED | JobStatus.DEFERRED | JobStatus.SCHEDULED:
            return "queued"
        case JobStatus.STARTED:
            return "running"
        case JobStatus.FAILED:
            return find_status() or "failed"
        case _:
            # the result was written before RQ said so; read between the two looks, it is there now
            is_open = accepted.is_open(redis, queue_name, job_id)
            return find_status() or ("queued" if is_open else "failed")


def _find_rq_status(redis: Redis, job_id: str) -> JobStatus | None:
    try:
        job = fetch_job(redis, job_id)
        status: JobStatus | None = job.get_status(refresh=False)
    except (NoSuchJobError, InvalidJobOperation):
        return None
    except ResponseError as error:
        if not is_of_another_type(error):
            raise
        return None
    return status
