"""What has become of a certification, read from Redis."""

from typing import Any

from redis import Redis

from app.errors import BatchUnknown, CertificationUnknown
from app.schemas import (
    Batch,
    BatchLinks,
    Certification,
    FailedCertification,
    FinishedCertification,
    QueuedCertification,
    RunningCertification,
    SampleProgress,
    batch_path,
    certification_links,
)
from app.security import Caller
from worker import queueing, results
from worker.contract import CertificationJob, Failure
from worker.document import FailedResult, FinishedResult

LOST = Failure(
    code="certification_lost",
    detail="It ended without a result: every attempt was cut off. Send the image again; "
    "if that happens twice, the operator finds the reason in the worker's log.",
)


def find_job(redis: Redis, certification_id: str, caller: Caller) -> CertificationJob:
    """The job of a certification that the caller may see.

    Raises:
        CertificationUnknown: there is none, or no longer, or it is another key's.
    """
    job = results.find_job(redis, certification_id)
    if job is None or not caller.may_see(job.owner):
        raise CertificationUnknown
    return job


def find_certification(redis: Redis, certification_id: str, caller: Caller) -> Certification:
    """A certification as it stands now.

    Raises:
        CertificationUnknown: as `find_job`.
    """
    job = find_job(redis, certification_id, caller)
    match queueing.get_state(redis, job.id):
        case "queued":
            return queued(job)
        case "running":
            return RunningCertification(**_common(job), progress=_progress(redis, job))
        case "finished" | "failed":
            return _ended(redis, job)


def find_batch(redis: Redis, batch_id: str, caller: Caller) -> Batch:
    """A batch as it stands now, in the order of its images.

    Raises:
        BatchUnknown: there is none, or no longer, or it is another key's.
    """
    ids = results.find_batch(redis, batch_id)
    try:
        shown = tuple(find_certification(redis, each, caller) for each in ids)
    except CertificationUnknown:
        raise BatchUnknown from None
    if not shown:
        raise BatchUnknown
    return create_batch(batch_id, shown)


def queued(job: CertificationJob) -> QueuedCertification:
    """A certification that was just accepted."""
    return QueuedCertification(**_common(job))


def create_batch(batch_id: str, certifications: tuple[Certification, ...]) -> Batch:
    """A batch of these certifications."""
    return Batch(
        id=batch_id,
        done=sum(map(is_done, certifications)),
        total=len(certifications),
        certifications=certifications,
        links=BatchLinks(self=batch_path(batch_id)),
    )


def is_done(certification: Certification) -> bool:
    """Whether nothing more will happen to it."""
    return certification.status in ("finished", "failed")


def _common(job: CertificationJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "batch_id": job.batch_id,
        "submitted_at": job.submitted_at,
        "model": job.request.model,
        "input": job.request.input,
        "links": certification_links(job),
    }


def _progress(redis: Redis, job: CertificationJob) -> SampleProgress:
    progress = results.find_progress(redis, job.id)
    done = 0 if progress is None else progress.samples_done
    return SampleProgress(samples_done=done, samples_total=job.request.samples_total)


def _ended(redis: Redis, job: CertificationJob) -> Certification:
    match results.find_result(redis, job.id):
        case FinishedResult() as result:
            return FinishedCertification(
                **_common(job),
                certificates=result.certificates,
                provenance=result.provenance,
                signature=result.signature,
            )
        case FailedResult(failure=failure):
            return FailedCertification(**_common(job), failure=failure)
        case None:
            return FailedCertification(**_common(job), failure=LOST)
