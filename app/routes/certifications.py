"""What became of certifications and batches."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.responses import JSONResponse

from app import errors
from app.deps import BatchJobsDep, JobDep, OwnBatchJobsDep, OwnJobDep, RedisDep, SettingsDep
from app.ending import end
from app.list_query import ListQuery
from app.listing import find_page
from app.lookup import show, show_batch
from app.picture import encode_png
from app.schemas import Batch, CancelledCertification, Certification, CertificationPage
from app.security import Reader
from worker import images_store

router = APIRouter(tags=["certifications"])


@router.get(
    "/certifications",
    responses={
        **errors.describe(errors.RequestInvalid, errors.FieldUnknown, errors.QueueUnavailable),
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
    responses=errors.describe(errors.CertificationUnknown, errors.QueueUnavailable),
)
def get_certification(job: JobDep, redis: RedisDep) -> Certification:
    """Where a certification stands and, when it is finished, its certificates."""
    return show(redis, job)


@router.delete(
    "/certifications/{certification_id}",
    response_model=CancelledCertification,
    responses={
        **errors.describe(errors.CertificationUnknown, errors.QueueUnavailable),
        200: {"description": "It was queued or running, and is cancelled now"},
        204: {"description": "It had ended, and is purged now"},
    },
)
def delete_certification(job: OwnJobDep, redis: RedisDep, settings: SettingsDep) -> Response:
    """Cancels a certification that is queued or running; purges one that has ended.

    A cancelled one stays to be seen as cancelled; nobody counts for it any more, and the attempt
    stays counted if it had begun. Purging removes the job, its certificates, its image and its
    single votes; an image or votes that another certification has too stay until that is purged.
    What keeps a further try from being a free one stays as well: the number of attempts at the
    image, and the outcome of this very request, which whoever sends the same image with the same
    request is answered with.
    """
    if end(redis, (job,), settings):
        return JSONResponse(show(redis, job).model_dump(mode="json"))
    return Response(status_code=204)


@router.get(
    "/certifications/{certification_id}/input.png",
    response_class=Response,
    responses={
        **errors.describe(
            errors.CertificationUnknown, errors.InputImageExpired, errors.QueueUnavailable
        ),
        200: {"content": {"image/png": {}}, "description": "The certified 8-bit image"},
    },
)
def get_input_image(job: JobDep, redis: RedisDep) -> Response:
    """The image that the certificates speak of: 8 bit, at the model's resolution."""
    described = job.request.input
    try:
        image = images_store.get_image(
            redis, described.sha256, height=described.height, width=described.width
        )
    except (images_store.ImageExpired, images_store.ImageDamaged):
        raise errors.InputImageExpired from None
    return Response(encode_png(image.transpose(1, 2, 0)), media_type="image/png")  # (H, W, 3)


@router.get(
    "/batches/{batch_id}",
    responses=errors.describe(errors.BatchUnknown, errors.QueueUnavailable),
)
def get_batch(jobs: BatchJobsDep, redis: RedisDep) -> Batch:
    """The certifications of images that were sent together."""
    return show_batch(redis, jobs)


@router.delete(
    "/batches/{batch_id}",
    response_model=Batch,
    responses={
        **errors.describe(errors.BatchUnknown, errors.QueueUnavailable),
        200: {"description": "Those that were queued or running are cancelled now"},
        204: {"description": "All had ended, and are purged now"},
    },
)
def delete_batch(jobs: OwnBatchJobsDep, redis: RedisDep, settings: SettingsDep) -> Response:
    """Cancels those of a batch that are queued or running; purges a batch of which all have ended.

    In a batch that is cancelled, what had finished stays. For what is purged and what is not, see
    `DELETE /certifications/{certification_id}`.
    """
    if end(redis, jobs, settings):
        return JSONResponse(show_batch(redis, jobs).model_dump(mode="json"))
    return Response(status_code=204)
