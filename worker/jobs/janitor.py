"""Repairs what killed processes left behind. Each queue has one janitor at a time.

RQ's clean-up of abandoned jobs is not atomic: two that run at the same time enqueue a job twice. So
it runs only here, under a lock. The janitor also finds what RQ's clean-up misses: a job that a
worker took and did not start, one whose record RQ lost, and one that was given up without a result.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq.job import Job, JobStatus
from rq.registry import clean_registries

from models.log import get_logger
from worker.jobs.priority import PriorityQueue, list_keys
from worker.jobs.retries import renew_attempts
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.counters import count_event
from worker.store.jobs import accepted

log = get_logger(__name__)

LOCK_S = 30
SUSPECT_S = 20.0  # longer than RQ ever takes to move a job
_LOST_EVERY_S = 10.0
_LOCK = f"{keyspace.PREFIX}:maintenance"

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@dataclass(frozen=True, kw_only=True)
class JobRecords:
    """The stored jobs of one queue: certifications, or learnings.

    Attributes:
        enqueue_again: enqueues an accepted job anew. False if there is nothing to enqueue.
        has_ended: whether a job has a result.
        give_up: stores the result of a job that RQ has given up, with the reason, unless the job
            has one.
    """

    enqueue_again: Callable[[str], bool]
    has_ended: Callable[[str], bool]
    give_up: Callable[[str, str], None]


class Janitor:
    """Sweeps one queue.

    Args:
        queue: the queue.
        name: names this janitor in its lock.
        jobs: the stored jobs of the queue.
    """

    def __init__(self, queue: PriorityQueue, name: str, jobs: JobRecords) -> None:
        self._queue, self._name, self._jobs = queue, name, jobs
        self._redis: Redis = queue.connection
        self._looked = 0.0

    def sweep(self) -> bool:
        """Repairs what is wrong unless another janitor is at work. Returns whether this one was."""
        lock = f"{_LOCK}:{self._queue.name}"
        if not self._redis.set(lock, self._name, nx=True, ex=LOCK_S):
            return False
        try:
            clean_registries(self._queue, [self._note_abandoned])
            if time.monotonic() - self._looked > _LOST_EVERY_S / 2:
                self._looked = time.monotonic()
                self.find_lost()
        finally:
            self._redis.eval(
                _RELEASE, 1, lock, self._name
            )  # only if it is still ours: it may have expired
        return True

    def _note_abandoned(self, job: Job, *_: object) -> None:
        """RQ calls this for a job whose worker fell silent, before it retries or gives up."""
        renew_attempts(self._redis, job, engine_lost=False)
        if job.retries_left:
            count_event(self._redis, "retried")
        else:
            self._jobs.give_up(job.id, "its worker fell silent")

    def find_lost(self) -> None:
        """Enqueues accepted jobs missing from every RQ structure for `SUSPECT_S`."""
        now = time.time()
        waiting = accepted.list_open(self._redis, self._queue.name, before=now - SUSPECT_S / 2)
        present, taken = self._list_present()
        missing = [one for one in waiting if one not in present]
        suspects = self._keep_suspects({*missing, *taken}, now)
        for job_id in suspects:
            if job_id in taken:
                self._put_back(job_id)
            else:
                self._recover(job_id)

    def _list_present(self) -> tuple[frozenset[str], frozenset[str]]:
        """The jobs that RQ has in any place, and those that a worker took but did not start."""
        with self._redis.pipeline() as pipeline:  # all at the same moment
            for key in (self._queue.intermediate_queue_key, *list_keys(self._queue)):
                pipeline.lrange(key, 0, -1)
            pipeline.zrange(self._queue.started_job_registry.key, 0, -1)
            taken, *queued, executions = (set(map(as_text, found)) for found in pipeline.execute())
        started = {one.partition(":")[0] for one in executions}
        return frozenset(started.union(taken, *queued)), frozenset(taken - started)

    def _keep_suspects(self, found: Iterable[str], now: float) -> tuple[str, ...]:
        """Records when each job became a suspect; returns those suspected for `SUSPECT_S`."""
        key = keyspace.suspects(self._queue.name)
        found = frozenset(found)
        stored: list[Any] = self._redis.zrange(key, 0, -1, withscores=True)
        known: dict[str, float] = {as_text(one): at for one, at in stored}
        with self._redis.pipeline() as pipeline:
            if cleared := [one for one in known if one not in found]:
                pipeline.zrem(key, *cleared)
            if new := {one: now for one in found if one not in known}:
                pipeline.zadd(key, new)
            pipeline.expire(key, 3600)
            pipeline.execute()
        return tuple(one for one, at in known.items() if one in found and now - at >= SUSPECT_S)

    def _put_back(self, job_id: str) -> None:
        """Moves a job whose worker was killed before it started to the front of the queue, once."""
        if self._queue.put_back(job_id):
            self._say_recovered(job_id)

    def _recover(self, job_id: str) -> None:
        if self._jobs.has_ended(job_id):
            accepted.settle(self._redis, self._queue.name, job_id)
        elif self._find_status(job_id) == JobStatus.FAILED:
            self._jobs.give_up(job_id, "it failed each time")
        else:
            self._enqueue(job_id)

    def _enqueue(self, job_id: str) -> None:
        try:
            enqueued = self._jobs.enqueue_again(job_id)
        except ValueError:
            self._jobs.give_up(job_id, "its record cannot be read")
            return
        if enqueued:
            self._say_recovered(job_id)
        else:
            accepted.settle(self._redis, self._queue.name, job_id)  # its time to live has passed

    def _find_status(self, job_id: str) -> JobStatus | None:
        status = self._redis.hget(Job.key_for(job_id), "status")
        return None if status is None else JobStatus(as_text(status))

    def _say_recovered(self, job_id: str) -> None:
        count_event(self._redis, "recovered")
        log.warning("job_recovered", job_id=job_id, queue=self._queue.name)
