"""When a certification may be done, from what waits and what hosts have measured."""

from dataclasses import dataclass

from redis import Redis

from worker.jobs.load import count_running, find_ahead, get_speeds


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Where a job stands in the queue (1: next), and an upper bound on the seconds to its end."""

    queue_position: int | None = None
    estimated_s: float | None = None


def find_outlook(redis: Redis, certification_id: str) -> Outlook:
    """The outlook of a job that waits; nothing is known of one that does not.

    What already runs is left out: it takes workers, and shares the engine with those that follow.
    """
    ahead = find_ahead(redis, certification_id)
    if ahead is None:
        return Outlook()
    seconds = ahead.seconds(get_speeds(redis))
    return Outlook(
        queue_position=ahead.jobs, estimated_s=None if seconds is None else round(seconds, 1)
    )


def estimate_running_s(redis: Redis, model_id: str, samples_left: int) -> float | None:
    """An upper bound on the seconds to the end of a job that runs, beside the others that do."""
    speed = get_speeds(redis).get(model_id)
    if not speed:
        return None
    return round(samples_left * max(1, count_running(redis)) / speed, 1)
