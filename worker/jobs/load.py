"""The work that waits in the queue, and how long it takes at the speeds that hosts measured.

What a job costs is the most samples it can take: procedures stop earlier as a rule, so times are
upper bounds for work in the queue, and no promise.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from worker.contract import Priority
from worker.jobs.priority import list_waiting
from worker.jobs.queue import create_queue
from worker.store import hosts, keyspace
from worker.store.connection import as_text


@dataclass(frozen=True, kw_only=True)
class QueueLoad:
    """The number of waiting jobs, and the most samples they can take, by model."""

    jobs: int
    samples: Mapping[str, int]

    def __add__(self, other: "QueueLoad") -> "QueueLoad":
        """The work of both together."""
        samples = Counter(self.samples)
        samples.update(other.samples)
        return QueueLoad(jobs=self.jobs + other.jobs, samples=samples)

    def seconds(self, speeds: Mapping[str, float], *, default: float | None = None) -> float | None:
        """The seconds that all hosts together need; None if a speed is unknown and has no default.

        Args:
            speeds: samples a second by model.
            default: of a model that no host has measured.
        """
        total = 0.0
        for model, samples in self.samples.items():
            if (speed := speeds.get(model) or default) is None:
                return None
            total += samples / speed
        return total


def count_running(redis: Redis) -> int:
    """The number of running jobs."""
    return int(create_queue(redis).started_job_registry.get_job_count(cleanup=False))


def get_load(redis: Redis, priority: Priority = "batch") -> QueueLoad:
    """The work that waits before a new job of this priority. Running jobs are left out."""
    return get_loads(redis)[priority]


def get_loads(redis: Redis) -> dict[Priority, QueueLoad]:
    """By priority, the work that waits before a new job."""
    found, before = dict[Priority, QueueLoad](), QueueLoad(jobs=0, samples={})
    for priority, waiting in list_waiting(redis).items():
        found[priority] = before = before + _load(redis, waiting)
    return found


def find_ahead(redis: Redis, certification_id: str) -> QueueLoad | None:
    """The work that waits up to and including a job; None if the job does not wait."""
    ids = [one for waiting in list_waiting(redis).values() for one in waiting]
    if certification_id not in ids:
        return None
    return _load(redis, ids[: ids.index(certification_id) + 1])


def get_speeds(redis: Redis) -> dict[str, float]:
    """Samples per second of all hosts together, by model, as far as hosts have measured it."""
    speeds: dict[str, float] = {}
    for report in hosts.list_workers(redis):
        for model, speed in report.samples_per_s.items() if report.ready else ():
            speeds[model] = speeds.get(model, 0.0) + speed
    return speeds


def _load(redis: Redis, ids: Sequence[str]) -> QueueLoad:
    samples: Counter[str] = Counter()
    costs: list[Any] = redis.mget([keyspace.cost(each) for each in ids]) if ids else []
    for cost in costs:
        if cost is not None:  # helpers of other certifications wait in the same queue
            n, _, model = cost.partition(b" ")
            if n.isdigit() and model.isascii():  # a damaged one stops no other
                samples[as_text(model)] += int(n)
    return QueueLoad(jobs=len(ids), samples=samples)
