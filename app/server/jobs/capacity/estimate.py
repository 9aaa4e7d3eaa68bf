"""Estimates when a certification is done, from the waiting jobs and the measured speeds."""

from dataclasses import dataclass

from redis import Redis

from worker.jobs.load import count_running, find_ahead, get_speeds


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A job's place in the queue (1: next), and an upper bound on the seconds until it ends."""

    queue_position: int | None = None
    estimated_s: float | None = None


def find_outlook(redis: Redis, certification_id: str) -> Outlook:
    """The outlook of a waiting job; empty for a job that is not waiting.

    Jobs that are already running are left out, although they occupy workers and share the engine.
    """
    ahead = find_ahead(redis, certification_id)
    if ahead is None:
        return Outlook()
    seconds = ahead.seconds(get_speeds(redis))
    return Outlook(
        queue_position=ahead.jobs, estimated_s=None if seconds is None else round(seconds, 1)
    )


def estimate_running_s(redis: Redis, model_id: str, samples_left: int) -> float | None:
    """An upper bound on the seconds until a running job ends, given the others that run."""
    speed = get_speeds(redis).get(model_id)
    if not speed:
        return None
    return round(samples_left * max(1, count_running(redis)) / speed, 1)
