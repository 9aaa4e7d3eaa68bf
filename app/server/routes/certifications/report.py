"""A finished certification as a PDF report."""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from redis import Redis

from app.server.answers import problems
from app.server.answers.report.document import create_report
from app.server.answers.schemas import FinishedCertification
from app.server.jobs.lookup import show
from app.server.jobs.witness import print_witness
from app.server.routes.dependencies import JobDep, RedisDep
from worker.contract import InputImage
from worker.contract.image import Image
from worker.store import images

router = APIRouter(tags=["certifications"])

PictureQuery = Annotated[
    Literal["true", "false"],
    Query(description="false: nothing of the image is shown, whose picture may hold a name."),
]


@router.get(
    "/certifications/{certification_id}/report.pdf",
    response_class=Response,
    responses={
        **problems.describe(
            problems.CertificationUnknown,
            problems.NotFinished,
            problems.RequestInvalid,
            problems.QueueUnavailable,
        ),
        200: {"content": {"application/pdf": {}}, "description": "A4, one page or more"},
    },
)
def get_report(job: JobDep, redis: RedisDep, picture: PictureQuery = "true") -> Response:
    """A report to print: the certified image, figures, the statement with its scope, digests.

    For the same certification the same bytes, as long as its image is stored and no witness is
    added. A witness that was found makes it longer.
    """
    found = show(redis, job)
    if not isinstance(found, FinishedCertification):
        raise problems.NotFinished
    name = f'attachment; filename="certificate-{found.id[:8]}.pdf"'
    image, witness = _find_image(redis, found.input), print_witness(redis, job)
    if picture == "false":
        image, witness = None, witness and replace(witness, images={})
    return Response(
        create_report(found, image, witness, is_left_out=picture == "false"),
        media_type="application/pdf",
        headers={"Content-Disposition": name},
    )


def _find_image(redis: Redis, described: InputImage) -> Image | None:
    try:
        return images.get_input(redis, described)
    except (images.ImageExpired, images.ImageDamaged):
        return None
