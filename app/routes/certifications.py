"""What became of certifications and batches."""

from fastapi import APIRouter, Response

from app import errors
from app.deps import BatchId, CertificationId, RedisDep
from app.lookup import find_batch, find_certification
from app.picture import encode_png
from app.schemas import Batch, Certification
from worker import images_store

router = APIRouter(tags=["certifications"])


@router.get(
    "/certifications/{certification_id}",
    responses=errors.describe(errors.CertificationUnknown, errors.QueueUnavailable),
)
def get_certification(certification_id: CertificationId, redis: RedisDep) -> Certification:
    """Where a certification stands and, when it is finished, its certificates."""
    return find_certification(redis, certification_id)


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
def get_input_image(certification_id: CertificationId, redis: RedisDep) -> Response:
    """The image that the certificates speak of: 8 bit, at the model's resolution."""
    described = find_certification(redis, certification_id).input
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
def get_batch(batch_id: BatchId, redis: RedisDep) -> Batch:
    """The certifications of images that were sent together."""
    return find_batch(redis, batch_id)
