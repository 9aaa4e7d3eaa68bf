"""What the service could take now, by model and priority: an answer of GET /capacity."""

from collections.abc import Collection, Sequence

from redis import Redis

from app.server.answers.capacity import Capacity, ModelCapacity, Room, WaitingJobs
from app.server.jobs.capacity.model_hosts import can_serve, may_serve
from app.settings import AppSettings
from models.catalogue import Catalogue
from models.catalogue.cards import ModelCard
from worker.contract import PRIORITIES, Priority, WorkerReport
from worker.jobs.load import QueueLoad, count_running, get_loads, get_speeds
from worker.store import hosts
from worker.store.connection import find_free_memory


def find_capacity(
    redis: Redis,
    settings: AppSettings,
    catalogue: Catalogue,
    priorities: Collection[Priority],
    *,
    reserved: int,
) -> Capacity:
    """What could be taken now of every model, in these priorities.

    Args:
        redis, settings, catalogue: of the app.
        priorities: those to answer for.
        reserved: bytes of Redis that evaluations still take at most.
    """
    loads, speeds = get_loads(redis), get_speeds(redis)
    before = {one: loads[one] for one in PRIORITIES if one in priorities}
    reports = hosts.list_workers(redis)
    counts = [loads[one].jobs for one in PRIORITIES]
    own = [later - earlier for earlier, later in zip([0, *counts], counts, strict=False)]
    return Capacity(
        running=count_running(redis),
        waiting=WaitingJobs(**dict(zip(PRIORITIES, own, strict=True))),
        memory_free_bytes=find_free_memory(redis),
        memory_reserved_bytes=reserved,
        models=tuple(
            _describe(card, reports, before, speeds, settings) for card in catalogue.list()
        ),
    )


def _describe(
    card: ModelCard,
    reports: Sequence[WorkerReport],
    before: dict[Priority, QueueLoad],
    speeds: dict[str, float],
    settings: AppSettings,
) -> ModelCapacity:
    """A model that every host reports that it cannot serve has room for nothing."""
    served = not reports or any(may_serve(report, card) for report in reports)
    speed = speeds.get(card.id)
    able = [report for report in reports if can_serve(report, card)]
    return ModelCapacity(
        model=card.id,
        hosts=len(able),
        at_a_time=sum(report.rq_workers for report in able),
        samples_per_s=None if speed is None else round(speed, 1),
        room=tuple(
            _find_room(one, load, speeds, settings, card.id if served else None)
            for one, load in before.items()
        ),
    )


def _find_room(
    priority: Priority,
    load: QueueLoad,
    speeds: dict[str, float],
    settings: AppSettings,
    model: str | None,
) -> Room:
    assumed = settings.assumed_samples_per_s
    seconds, wait_s = load.seconds(speeds, default=assumed), load.seconds(speeds)
    assert seconds is not None, "there is a default"
    jobs = max(0, settings.max_queued_jobs - load.jobs)
    left_s = max(0.0, settings.max_queued_device_s - seconds)
    if model is None or not jobs or not left_s:
        jobs, left_s = 0, 0.0
    return Room(
        priority=priority,
        jobs=jobs,
        samples=int(left_s * (speeds.get(model or "") or assumed)),
        expected_wait_s=None if wait_s is None or model is None else round(wait_s, 1),
    )
