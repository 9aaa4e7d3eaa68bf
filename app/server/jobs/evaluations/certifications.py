"""Certifications of an evaluation: their ids, and how they are cancelled and purged."""

import hashlib
from collections.abc import Iterator, Sequence

from app.server.jobs.delete import end
from app.server.jobs.evaluations.record import StoredEvaluation
from app.server.jobs.services import Services
from worker.contract import CertificationJob
from worker.jobs.purge import purge
from worker.store.jobs import records

TRIES = 3
"""Certifications of one image, if they fail or somebody cancels them."""
_AT_A_TIME = 500


def create_certification_id(evaluation_id: str, place: int, attempt: int) -> str:
    """The id of the certification of an image, by its place and how often it was tried before."""
    said = f"evaluation {evaluation_id} {place} {attempt}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def list_certification_ids(asked: StoredEvaluation) -> list[str]:
    """The ids of all certifications that an evaluation can have queued."""
    return [
        create_certification_id(asked.id, place, attempt)
        for place in range(len(asked.files))
        for attempt in range(TRIES)
    ]


def cancel_certifications(services: Services, names: Sequence[str]) -> None:
    """Cancels those that are queued or running."""
    for jobs in _find_jobs(services, names):
        end(services.redis, jobs, services.settings, only_cancel=True)


def purge_certifications(services: Services, names: Sequence[str]) -> None:
    """Removes certifications with their images, votes and certificates, whatever their state.

    One that is still queued or running, as after a kill, is cancelled first.
    """
    redis, settings = services.redis, services.settings
    for jobs in _find_jobs(services, names):
        end(redis, jobs, settings, only_cancel=True)
        for job in jobs:
            purge(redis, job, ttl_s=settings.certificate_ttl_s)


def _find_jobs(services: Services, names: Sequence[str]) -> Iterator[list[CertificationJob]]:
    """The jobs of these ids that are stored, so many at a time."""
    for start in range(0, len(names), _AT_A_TIME):
        found = records.find_jobs(services.redis, names[start : start + _AT_A_TIME])
        yield [job for job in found if job is not None]
