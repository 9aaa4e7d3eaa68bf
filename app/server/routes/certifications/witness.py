"""The witness of a certification: POST asks for it, GET shows it and its pictures."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from starlette.responses import JSONResponse

from app.server.answers import problems
from app.server.answers.etag import NOT_KEPT, NOT_MODIFIED, IfNoneMatch, tagged
from app.server.answers.pictures import PNG, encode_png
from app.server.answers.witness import Witness
from app.server.jobs.witness import Which, ask, get_picture, show
from app.server.routes.dependencies import JobDep, OwnJobDep, RedisDep, ServicesDep

router = APIRouter(prefix="/certifications/{certification_id}", tags=["certifications"])


@router.post(
    "/witness",
    status_code=202,
    response_model=Witness,
    responses={
        **problems.describe(
            problems.CertificationUnknown,
            problems.NotFinished,
            problems.InputImageExpired,
            problems.QueueFull,
            problems.QueueUnavailable,
            problems.StorageFull,
        ),
        200: {"model": Witness, "description": "It was asked for before, and has ended"},
        202: {"description": "Accepted; the same address shows it"},
    },
)
def ask_for_witness(job: OwnJobDep, services: ServicesDep) -> Response:
    """Looks for the smallest changes that change the answers of a finished certification.

    An attack by gradients is run on the smoothed model, and on the undefended one under the same
    prompt. It runs at priority batch and within a bound on its time, draws none of the noise of the
    certificates and changes none of them. Asked again, the same witness is answered; one that
    failed is tried again.
    """
    shown = ask(services, job)
    waits = shown.status in ("queued", "running")
    headers = {"Location": shown.links.self} | ({"Retry-After": "1"} if waits else {})
    return JSONResponse(
        shown.model_dump(mode="json"), status_code=202 if waits else 200, headers=headers
    )


@router.get(
    "/witness",
    responses=problems.describe(
        problems.CertificationUnknown, problems.WitnessUnknown, problems.QueueUnavailable
    ),
)
def get_witness(job: JobDep, redis: RedisDep) -> Witness:
    """Where the search for a witness stands, and what it found.

    A change that was found says that the answer there is another one, and nothing about smaller
    changes. Where nothing was found, nothing is proved. `alarm` is true where a smoothed answer
    changed within its certified radius.
    """
    return show(redis, job)


@router.get(
    "/witness/{certificate}/{which}.png",
    response_class=Response,
    responses={
        **NOT_MODIFIED,
        **problems.describe(
            problems.CertificationUnknown,
            problems.WitnessUnknown,
            problems.InputImageExpired,
            problems.RequestInvalid,
            problems.QueueUnavailable,
        ),
        200: {
            "content": PNG,
            "description": "The 8-bit image at which the answer changed, or the difference",
        },
    },
)
def get_witness_image(
    job: JobDep,
    redis: RedisDep,
    certificate: Annotated[int, Path(ge=0, description="Which certificate, from 0.")],
    which: Annotated[
        Which, Path(description="Whose answer changed; the image, or what was changed in it.")
    ],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The image at which the smoothed or the undefended answer is another one, or the difference.

    A difference is drawn around middle grey and enlarged by the largest power of two up to 64 with
    which nothing is cut off. It is not enlarged where a step exceeds 127 levels, which may be cut
    off.
    """
    image = get_picture(redis, job, certificate, which)
    png = Response(encode_png(image.transpose(1, 2, 0)), media_type="image/png")  # (H, W, 3)
    return tagged(png, if_none_match, cache=NOT_KEPT)
