"""How often a job is tried. An attempt that came further than all earlier ones does not count.

A long job on a host whose processes keep dying may be cut off any number of times, and continues
from its stored votes each time. A job that ends its own process comes no further and is given up.
So is one that keeps ending engines while it has them alone, however far it comes: every job of the
host waits for the next one.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from worker.jobs.queue import RETRIES
from worker.processes.hand_back import interruptible
from worker.settings import WorkerSettings
from worker.store import keyspace
from worker.store.jobs import progress as progress_store

_TTL_S = 24 * 3600
_SUSPECT_AFTER = 2  # engines


def is_suspect(redis: Redis, certification_id: str) -> bool:
    """Whether engines ended during a job too often for chance. It then has its engine alone."""
    return progress_store.count_lost_engines(redis, certification_id) >= _SUSPECT_AFTER


@contextmanager
def take_turn(settings: WorkerSettings, *, alone: bool) -> Iterator[None]:
    """Waits for the turn of a job that must run `alone`. Other jobs do not wait."""
    if not alone:
        yield
        return
    with settings.socket_path.with_suffix(".turn").open("w") as file:
        with interruptible():
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


def renew_attempts(redis: Redis, rq_job: Any, *, engine_lost: bool) -> None:
    """Restores all retries of an RQ job that was cut off, if it has stored more votes since.

    Each time needs more stored votes than the last, and a job has a limited number, so it ends.

    Args:
        redis: the queue's.
        rq_job: what RQ runs.
        engine_lost: the engine ended under it; a suspect's attempts are not renewed then.
    """
    lost = progress_store.count_lost_engines(redis, rq_job.id)
    if engine_lost and lost > _SUSPECT_AFTER:
        return
    progress = progress_store.find_progress(redis, rq_job.id)
    done = 0 if progress is None else progress.samples_done
    before = redis.set(keyspace.cut_off_at(rq_job.id), done, ex=_TTL_S, get=True)
    if done > int(before or 0):
        rq_job.retries_left = RETRIES
