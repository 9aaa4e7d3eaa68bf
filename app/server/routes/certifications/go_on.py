"""POST /certifications/{id}/continue: more samples later, without a new attempt."""

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from app.server.access.caller import Submitter
from app.server.answers import problems
from app.server.answers.schemas import Certification
from app.server.jobs.go_on import go_on
from app.server.jobs.lookup import is_done, show
from app.server.routes.accepted import describe_accepted
from app.server.routes.dependencies import OwnJobDep, ServicesDep

router = APIRouter(tags=["certify"])


@router.post(
    "/certifications/{certification_id}/continue",
    status_code=202,
    response_model=Certification,
    responses={
        **problems.describe(
            problems.CertificationUnknown,
            problems.NotFinished,
            problems.NothingToContinue,
            problems.InputImageExpired,
            problems.ModelUnknown,
            problems.QueueFull,
            problems.ModelUnavailable,
            problems.QuotaExceeded,
            problems.QueueUnavailable,
            problems.StorageFull,
        ),
        200: {"model": Certification, "description": "It went on before, and has ended"},
        202: describe_accepted(
            "Accepted; Location says where the next certificates will be",
            parameter="certification_id",
            operations={"follow": "get_certification", "cancel": "delete_certification"},
        ),
    },
)
def continue_certification(job: OwnJobDep, services: ServicesDep, caller: Submitter) -> Response:
    """Goes on with a finished certification whose request named `n_cap`: takes the next samples.

    The answer is a certification of its own, whose `continues` names this one. This one stays as it
    is. Both are one attempt, and all their certificates hold together at the confidence stated. If
    a host counts it whose model differs in its last bits, it is a further attempt and says so.
    Asked again, the same one is answered.
    """
    shown = show(services.redis, go_on(services, job, caller))
    done = is_done(shown)
    headers = {"Location": shown.links.self} | ({} if done else {"Retry-After": "1"})
    return JSONResponse(
        shown.model_dump(mode="json"), status_code=200 if done else 202, headers=headers
    )
