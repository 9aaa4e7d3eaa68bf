"""The current state of certifications and batches, read from Redis."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from redis import Redis

from app.request.goal import find_goal
from app.request.reach import find_note
from app.server.access.caller import Caller
from app.server.answers import schemas
from app.server.answers.problems import BatchUnknown, CertificationUnknown, InputImageExpired
from app.server.jobs.capacity.estimate import estimate_running_s, find_outlook
from app.server.jobs.signed import is_as_signed
from worker.contract import CertificationJob, Failure
from worker.contract.certificate.document import CancelledResult, FailedResult, FinishedResult
from worker.contract.certificate.series import JointAbstained, JointCertified, join_images
from worker.contract.image import Image
from worker.jobs.state import get_state
from worker.store import images
from worker.store.jobs import listing, records, results
from worker.store.jobs import progress as progress_store
from worker.store.jobs.damaged import RecordDamaged

LOST = Failure(
    code="certification_lost",
    detail="The certification ended without a result: every attempt was interrupted. Send the "
    "image again; if this happens twice, the operator finds the reason in the worker's log.",
)


DAMAGED = Failure(
    code="record_damaged",
    detail="The stored result can no longer be read, or is not as it was signed. Send the image "
    "again; the operator finds the record in the service's log.",
)


def find_visible_job(redis: Redis, certification_id: str, caller: Caller) -> CertificationJob:
    """The job of a certification that the caller may see: every route that names one comes by here.

    Raises:
        CertificationUnknown: it does not exist, has expired, or belongs to another key.
        RecordDamaged: it cannot be read, and is in the list of what the caller may see.
    """
    try:
        job = records.find_job(redis, certification_id)
    except RecordDamaged:
        if listing.is_listed(redis, caller.view, certification_id):
            raise
        raise CertificationUnknown from None
    if job is None or not caller.may_see(job.owner):
        raise CertificationUnknown
    return job


def require_image(redis: Redis, job: CertificationJob, refusal: str | None = None) -> Image:
    """The certified image of a job, uint8 (3, H, W).

    Args:
        refusal: says what to do where it is gone, in place of the usual sentence.

    Raises:
        InputImageExpired: it is no longer stored.
    """
    try:
        return images.get_input(redis, job.request.input)
    except (images.ImageExpired, images.ImageDamaged):
        raise InputImageExpired(refusal) from None


def find_batch_jobs(redis: Redis, batch_id: str, caller: Caller) -> tuple[CertificationJob, ...]:
    """The jobs of a batch in image order, without those that were purged or are damaged.

    Raises:
        BatchUnknown: it does not exist, has expired, or belongs to another key.
    """
    found = records.find_jobs(redis, records.find_batch(redis, batch_id))
    jobs = tuple(job for job in found if job is not None and caller.may_see(job.owner))
    if not jobs:
        raise BatchUnknown
    return jobs


def show(redis: Redis, job: CertificationJob) -> schemas.Certification:
    """A certification as it stands now."""
    try:
        return _show(redis, job)
    except RecordDamaged:
        return show_damaged(job)


def show_damaged(job: CertificationJob) -> schemas.FailedCertification:
    """A certification of which a record cannot be read, or whose signature does not hold."""
    return schemas.FailedCertification(**_common(job), failure=DAMAGED)


def _show(redis: Redis, job: CertificationJob) -> schemas.Certification:
    match get_state(redis, job.id):
        case "queued":
            outlook = find_outlook(redis, job.id)
            return schemas.QueuedCertification(
                **_common(job), asked=schemas.asked(job.request), **asdict(outlook)
            )
        case "running":
            progress = find_progress(redis, job)
            left = progress.samples_total - progress.samples_done
            estimated_s = estimate_running_s(redis, job.request.model.id, left)
            return schemas.RunningCertification(
                **_common(job),
                asked=schemas.asked(job.request),
                progress=progress,
                estimated_s=estimated_s,
            )
        case "finished" | "failed" | "cancelled":
            return _ended(redis, job)


def show_batch(redis: Redis, jobs: Sequence[CertificationJob]) -> schemas.Batch:
    """The batch of these jobs as it stands now."""
    return create_batch(redis, tuple(show(redis, job) for job in jobs))


def show_all(
    redis: Redis, jobs: Sequence[CertificationJob]
) -> schemas.Certification | schemas.Batch:
    """The jobs of one submission: a certification, or a batch."""
    return show(redis, jobs[0]) if jobs[0].batch_id is None else show_batch(redis, jobs)


def create_batch(redis: Redis, certifications: tuple[schemas.Certification, ...]) -> schemas.Batch:
    """The batch of these certifications, with the images that were refused."""
    batch_id = certifications[0].batch_id
    assert batch_id is not None, "they were sent together"
    refused = tuple(map(schemas.RefusedProblem.of, records.find_refused(redis, batch_id)))
    all_ended = all(map(is_done, certifications))
    return schemas.Batch(
        id=batch_id,
        done=len(refused) + sum(map(is_done, certifications)),
        total=len(refused) + len(certifications),
        certifications=certifications,
        refused=refused,
        joint_batch=_join(certifications) if all_ended else (),
        links=schemas.BatchLinks(self=f"/batches/{batch_id}"),
    )


def _join(
    certifications: Sequence[schemas.Certification],
) -> tuple[JointCertified | JointAbstained, ...]:
    """What holds for the images together; nothing where they hold each for itself."""
    made = [c.certificates for c in certifications if isinstance(c, schemas.FinishedCertification)]
    return join_images(made) if made and made[0][0].joint else ()


def is_done(certification: schemas.Certification) -> bool:
    """Whether its state is final."""
    return certification.status not in ("queued", "running")


def _common(job: CertificationJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "batch_id": job.batch_id,
        "image_index": job.image_index,
        "submitted_at": job.submitted_at,
        "model": job.request.model,
        "input": job.request.input,
        "continues": job.continues,
        "reference": job.reference,
        "note": find_note(job.request),
        "links": schemas.certification_links(job),
    }


def find_progress(redis: Redis, job: CertificationJob) -> schemas.SampleProgress:
    """How far a certification is; zero samples before it runs."""
    progress = progress_store.find_progress(redis, job.id)
    total = job.request.samples_total
    if progress is None:
        return schemas.SampleProgress(samples_done=0, samples_total=total)
    return schemas.SampleProgress(
        samples_done=progress.samples_done, samples_total=total, live=progress.live
    )


def _ended(redis: Redis, job: CertificationJob) -> schemas.Certification:
    match results.find_result(redis, job.id):
        case FinishedResult() as result if not is_as_signed(redis, job.id, result):
            return show_damaged(job)
        case FinishedResult() as result:
            return schemas.FinishedCertification(
                **_common(job),
                schema_version=result.schema_version,
                certificates=result.certificates,
                provenance=result.provenance,
                goal=find_goal(result.certificates),
                signature=result.signature,
            )
        case FailedResult(failure=failure):
            return schemas.FailedCertification(**_common(job), failure=failure)
        case CancelledResult():
            return schemas.CancelledCertification(**_common(job))
        case None:
            return schemas.FailedCertification(**_common(job), failure=LOST)
