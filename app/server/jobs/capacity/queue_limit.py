"""Whether the queue accepts more work, and if not, when it will."""

import math
import time
from collections.abc import Callable
from random import Random

from redis import Redis

from app.server.answers.problems import QueueFull
from app.server.middleware.recent import Recent
from app.settings import AppSettings
from worker.contract import Priority
from worker.jobs.load import get_load, get_speeds

_LONGEST_S = 3600
_REMEMBERED_S = 60.0


class QueueLimit:
    """Keeps the work that waits within the operator's limits.

    Args:
        settings: of the app: the limits, and the speed that is assumed until one is measured.
        clock: seconds that only grow.
        random: chooses when each refused caller comes again.
    """

    def __init__(
        self,
        settings: AppSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._random = random or Random()  # noqa: S311  nothing secret
        self._refused = Recent(clock, over_s=_REMEMBERED_S)

    def require_room(self, redis: Redis, priority: Priority) -> None:
        """Passes unless the queue is full for a job of that priority.

        Raises:
            QueueFull: with the seconds after which there should be room. Callers refused within a
                minute get different times: each refusal leaves time for the jobs of those before.
        """
        wait_s, job_s = self._measure(redis, priority)
        if wait_s is not None:
            raise self._refuse(wait_s, job_s)

    def is_full(self, redis: Redis, priority: Priority) -> bool:
        """Whether the work that waits before a new job reaches the operator's limits.

        So many batches keep out no job that goes before them. Running work does not count.

        There are two limits: jobs, and seconds of work at the measured speed. Requests accepted at
        the same moment can exceed them by as many as are decoded at a time.
        """
        return self._measure(redis, priority)[0] is not None

    def _measure(self, redis: Redis, priority: Priority) -> tuple[float | None, float]:
        """Seconds until there is room, None if there is; and seconds that a waiting job takes."""
        load, limits = get_load(redis, priority), self._settings
        seconds = load.seconds(get_speeds(redis), default=limits.assumed_samples_per_s)
        assert seconds is not None, "there is a default"
        job_s = seconds / max(1, load.jobs)
        if load.jobs >= limits.max_queued_jobs:
            return job_s * (1 + load.jobs - limits.max_queued_jobs), job_s
        if seconds >= limits.max_queued_device_s:
            return seconds - limits.max_queued_device_s, job_s
        return None, job_s

    def _refuse(self, wait_s: float, job_s: float) -> QueueFull:
        before = self._refused.count()
        self._refused.add()
        wait_s += self._random.uniform(0, 2 * before * job_s)
        retry_after_s = min(_LONGEST_S, max(1, math.ceil(wait_s)))
        return QueueFull(headers={"Retry-After": str(retry_after_s)})
