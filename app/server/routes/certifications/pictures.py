"""Pictures of a certification: the certified input, noise on it, and everyday changes of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.request.numbers import PLAIN_DECIMAL
from app.server.answers import problems
from app.server.answers.etag import NOT_KEPT, NOT_MODIFIED, IfNoneMatch, tagged
from app.server.answers.pictures import PNG, encode_png, sample_illustration
from app.server.answers.yardsticks import YardstickId, Yardsticks, change_image, list_yardsticks
from app.server.jobs.lookup import require_image
from app.server.routes.dependencies import JobDep, RedisDep
from worker.contract.image import Image

router = APIRouter(prefix="/certifications/{certification_id}", tags=["certifications"])

_FOUND: dict[int | str, dict[str, Any]] = {
    **NOT_MODIFIED,
    **problems.describe(
        problems.CertificationUnknown, problems.InputImageExpired, problems.QueueUnavailable
    ),
}
_FOUND_OF_JSON = {status: each for status, each in _FOUND.items() if status not in NOT_MODIFIED}
_FOUND_OF_A_CHOICE = _FOUND | problems.describe(
    problems.CertificationUnknown,
    problems.InputImageExpired,
    problems.RequestInvalid,
    problems.QueueUnavailable,
)
ShownSigma = Annotated[
    float,
    Query(
        ge=0.001,
        le=10,
        allow_inf_nan=False,
        description="Standard deviation of the noise on pixels in [0, 1], from 0.001 to 10.",
    ),
    PLAIN_DECIMAL,
]


@router.get(
    "/input.png",
    response_class=Response,
    responses={**_FOUND, 200: {"content": PNG, "description": "The certified 8-bit image"}},
)
def get_input_image(job: JobDep, redis: RedisDep, if_none_match: IfNoneMatch = None) -> Response:
    """The image that the certificates speak of: 8 bit, at the model's resolution."""
    return _answer(require_image(redis, job), if_none_match)


@router.get(
    "/noisy.png",
    response_class=Response,
    responses={
        **_FOUND_OF_A_CHOICE,
        200: {"content": PNG, "description": "An illustration, not a certified sample"},
    },
)
def get_noisy_image(
    job: JobDep, redis: RedisDep, sigma: ShownSigma, if_none_match: IfNoneMatch = None
) -> Response:
    """What noise of a level looks like on the certified image. An illustration and nothing else.

    It is not one of the samples that were counted: those come from a secret key, and are not cut to
    the range of a picture.
    """
    return _answer(sample_illustration(require_image(redis, job), sigma), if_none_match)


@router.get("/yardsticks", responses=_FOUND_OF_JSON)
def get_yardsticks(job: JobDep, redis: RedisDep) -> Yardsticks:
    """Everyday changes of the certified image, each with its l2 length.

    A certificate covers those that are shorter than its radius, and says nothing about the others.
    """
    return list_yardsticks(require_image(redis, job))


@router.get(
    "/yardsticks/{yardstick_id}.png",
    response_class=Response,
    responses=_FOUND_OF_A_CHOICE | {200: {"content": PNG, "description": "The changed image"}},
)
def get_changed_image(
    job: JobDep, redis: RedisDep, yardstick_id: YardstickId, if_none_match: IfNoneMatch = None
) -> Response:
    """The certified image under one of these changes."""
    return _answer(change_image(require_image(redis, job), yardstick_id), if_none_match)


def _answer(image: Image, if_none_match: str | None) -> Response:
    png = Response(encode_png(image.transpose(1, 2, 0)), media_type="image/png")  # (H, W, 3)
    return tagged(png, if_none_match, cache=NOT_KEPT)
