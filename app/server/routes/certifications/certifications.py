"""Reads, cancels and purges certifications and batches."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from starlette.responses import JSONResponse

from app.server.access.caller import Reader
from app.server.answers import problems
from app.server.answers.etag import NOT_MODIFIED, IfNoneMatch, answer_json
from app.server.answers.listing import CertificationPage
from app.server.answers.schemas import Batch, Certification
from app.server.forms.listing import ListQuery
from app.server.jobs.delete import end
from app.server.jobs.listing import find_page
from app.server.jobs.lookup import is_done, show, show_batch
from app.server.routes.dependencies import (
    BatchJobsDep,
    Damaged,
    JobDep,
    JobToEndDep,
    OwnBatchJobsDep,
    RedisDep,
    SettingsDep,
)
from worker.jobs.purge import purge_damaged

router = APIRouter(tags=["certifications"])

Only = Annotated[
    Literal["cancel"] | None,
    Query(description="cancel: what has ended is not purged, whatever happened meanwhile."),
]


@router.get(
    "/certifications",
    responses={
        **problems.describe(
            problems.RequestInvalid, problems.FieldUnknown, problems.QueueUnavailable
        ),
        200: {
            "headers": {
                "Link": {
                    "description": '`<…>; rel="next"`, where there is a next page (RFC 8288).',
                    "schema": {"type": "string"},
                }
            }
        },
    },
)
def list_certifications(
    query: Annotated[ListQuery, Query()], redis: RedisDep, caller: Reader, response: Response
) -> CertificationPage:
    """The caller's certifications, newest first, a page at a time.

    Go on with `next` as it is: a cursor is opaque, and stays right while others are sent or purged.
    """
    page = find_page(redis, caller, query)
    if page.next is not None:
        response.headers["Link"] = f'<{page.next}>; rel="next"'
    return page


@router.get(
    "/certifications/{certification_id}",
    response_model=Certification,
    responses={
        **NOT_MODIFIED,
        **problems.describe(problems.CertificationUnknown, problems.QueueUnavailable),
    },
)
def get_certification(job: JobDep, redis: RedisDep, if_none_match: IfNoneMatch = None) -> Response:
    """Where a certification stands and, when it is finished, its certificates.

    One that has ended has an `ETag` and is not sent again to who has it.
    """
    shown = show(redis, job)
    if is_done(shown):
        return answer_json(shown, if_none_match)
    return JSONResponse(shown.model_dump(mode="json"))


@router.delete(
    "/certifications/{certification_id}",
    response_model=Certification,
    responses={
        **problems.describe(problems.CertificationUnknown, problems.QueueUnavailable),
        200: {"description": "It is cancelled now, or had ended and was only to be cancelled"},
        204: {"description": "It had ended, and is purged now"},
    },
)
def delete_certification(
    job: JobToEndDep, redis: RedisDep, settings: SettingsDep, only: Only = None
) -> Response:
    """Cancels a certification that is queued or running; purges one that has ended.

    With `only=cancel` one that has ended stays, and the answer shows it. So whoever wants to stop a
    count never loses a certificate that was made a moment before.

    A cancelled one stays to be seen as cancelled; nobody counts for it any more, and the attempt
    stays counted if it had begun. Purging removes the job, its certificates, its image and its
    single votes; an image or votes that another certification has too stay until that is purged.
    What keeps a further try from being a free one stays as well: the number of attempts at the
    image, and the outcome of this very request, which whoever sends the same image with the same
    request is answered with. One whose record is damaged is purged at once.
    """
    if isinstance(job, Damaged) and only is not None:
        raise problems.RecordDamaged
    if isinstance(job, Damaged):
        purge_damaged(redis, job.id, ttl_s=settings.certificate_ttl_s)
        return Response(status_code=204)
    if end(redis, (job,), settings, only_cancel=only is not None):
        return JSONResponse(show(redis, job).model_dump(mode="json"))
    return Response(status_code=204)


@router.get(
    "/batches/{batch_id}",
    responses=problems.describe(problems.BatchUnknown, problems.QueueUnavailable),
)
def get_batch(jobs: BatchJobsDep, redis: RedisDep) -> Batch:
    """The certifications of images that were sent together."""
    return show_batch(redis, jobs)


@router.delete(
    "/batches/{batch_id}",
    response_model=Batch,
    responses={
        **problems.describe(problems.BatchUnknown, problems.QueueUnavailable),
        200: {"description": "Those that were queued or running are cancelled now; all stay"},
        204: {"description": "All had ended, and are purged now"},
    },
)
def delete_batch(
    jobs: OwnBatchJobsDep, redis: RedisDep, settings: SettingsDep, only: Only = None
) -> Response:
    """Cancels those of a batch that are queued or running; purges a batch of which all have ended.

    In a batch that is cancelled, what had finished stays. With `only=cancel` nothing is purged. For
    what is purged and what is not, see
    `DELETE /certifications/{certification_id}`.
    """
    if end(redis, jobs, settings, only_cancel=only is not None):
        return JSONResponse(show_batch(redis, jobs).model_dump(mode="json"))
    return Response(status_code=204)
