"""DELETE: cancels what has not ended; otherwise purges, unless only a cancel was asked for."""

from collections.abc import Sequence

from redis import Redis

from app.settings import AppSettings
from worker.contract import CertificationJob
from worker.jobs.cancel import cancel
from worker.jobs.purge import purge
from worker.jobs.state import get_state
from worker.store import images
from worker.store.jobs.damaged import RecordDamaged


def end(
    redis: Redis, jobs: Sequence[CertificationJob], settings: AppSettings, *, only_cancel: bool
) -> bool:
    """Cancels the jobs that are queued or running. If there are none, purges all of them.

    Returns whether they are there to be shown: nothing is purged if any was cancelled, or with
    `only_cancel`. A job that ended just now is not purged along with them,
    because the caller could not know yet that it had ended.
    """
    ttl_s = settings.certificate_ttl_s
    live = [job for job in jobs if _is_live(redis, job)]
    for job in live:
        cancel(redis, job.id, ttl_s=ttl_s)
        images.let_go(redis, job.request.input.sha256, ttl_s=settings.image_ttl_s)
    if live or only_cancel:
        return True
    for job in jobs:
        purge(redis, job, ttl_s=ttl_s)
    return False


def _is_live(redis: Redis, job: CertificationJob) -> bool:
    """Whether it is queued or running. One with a damaged result has ended."""
    try:
        return get_state(redis, job.id) in ("queued", "running")
    except RecordDamaged:
        return False
