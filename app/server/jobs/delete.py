"""What DELETE does: cancel what has not ended, else purge."""

from collections.abc import Sequence

from redis import Redis

from app.settings import AppSettings
from worker.contract import CertificationJob
from worker.jobs.cancel import cancel
from worker.jobs.purge import purge
from worker.jobs.state import get_state
from worker.store import images


def end(redis: Redis, jobs: Sequence[CertificationJob], settings: AppSettings) -> bool:
    """Cancels those of the jobs that are queued or running; where none is, purges them all.

    Returns whether any was. One that ended just now is not purged: who asked did not know it yet.
    """
    ttl_s = settings.certificate_ttl_s
    live = [job for job in jobs if get_state(redis, job.id) in ("queued", "running")]
    for job in live:
        cancel(redis, job.id, ttl_s=ttl_s)
        images.let_go(redis, job.request.input.sha256, ttl_s=settings.image_ttl_s)
    if not live:
        for job in jobs:
            purge(redis, job, ttl_s=ttl_s)
    return bool(live)
