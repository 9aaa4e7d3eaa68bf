"""A finished certification as a PDF report."""

from fastapi import APIRouter, Response
from redis import Redis

from app.server.answers import problems
from app.server.answers.report import create_report
from app.server.answers.schemas import FinishedCertification
from app.server.jobs.lookup import show
from app.server.routes.dependencies import JobDep, RedisDep
from worker.contract import InputImage
from worker.contract.image import Image
from worker.store import images

router = APIRouter(tags=["certifications"])


@router.get(
    "/certifications/{certification_id}/report.pdf",
    response_class=Response,
    responses={
        **problems.describe(
            problems.CertificationUnknown, problems.NotFinished, problems.QueueUnavailable
        ),
        200: {"content": {"application/pdf": {}}, "description": "One page in A4"},
    },
)
def get_report(job: JobDep, redis: RedisDep) -> Response:
    """One page to print: the certified image, figures, the statement with its scope, digests.

    For the same certification the same bytes, as long as its image is stored.
    """
    found = show(redis, job)
    if not isinstance(found, FinishedCertification):
        raise problems.NotFinished
    name = f'attachment; filename="certificate-{found.id[:8]}.pdf"'
    return Response(
        create_report(found, _find_image(redis, found.input)),
        media_type="application/pdf",
        headers={"Content-Disposition": name},
    )


def _find_image(redis: Redis, described: InputImage) -> Image | None:
    try:
        return images.get_input(redis, described)
    except (images.ImageExpired, images.ImageDamaged):
        return None
