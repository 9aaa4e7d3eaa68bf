"""Whether the queue accepts more work, and if not, when it will."""

import math

from redis import Redis

from app.server.answers.problems import QueueFull
from app.settings import AppSettings
from worker.jobs.load import get_load, get_speeds

_LONGEST_S = 3600


def require_room(redis: Redis, settings: AppSettings) -> None:
    """Passes unless the waiting work reaches the operator's limits. Running work does not count.

    There are two limits: jobs, and seconds of work at the measured speed. Requests accepted at the
    same moment can exceed them by as many as are decoded at a time.

    Raises:
        QueueFull: with the seconds after which there should be room.
    """
    load = get_load(redis)
    seconds = load.seconds(get_speeds(redis), default=settings.assumed_samples_per_s)
    assert seconds is not None, "there is a default"
    if load.jobs >= settings.max_queued_jobs:
        raise _full(seconds / load.jobs * (1 + load.jobs - settings.max_queued_jobs))
    if seconds >= settings.max_queued_device_s:
        raise _full(seconds - settings.max_queued_device_s)


def _full(wait_s: float) -> QueueFull:
    retry_after_s = min(_LONGEST_S, max(1, math.ceil(wait_s)))
    return QueueFull(headers={"Retry-After": str(retry_after_s)})
