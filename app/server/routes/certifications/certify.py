"""POST /certify."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from redis.exceptions import WatchError
from starlette.responses import JSONResponse

from app.request.refusal import FieldInvalid
from app.server.access.caller import Caller, Submitter
from app.server.answers import problems
from app.server.answers.schemas import Batch, Certification
from app.server.forms.certify_body import CertifyBody
from app.server.forms.certify_openapi import AS_FILE, AS_FORM, AS_JSON
from app.server.forms.multipart import FormRoute
from app.server.jobs.idempotency import claim, parse_key
from app.server.jobs.lookup import show_all
from app.server.jobs.prefer_wait import parse_wait, wait_until
from app.server.jobs.services import Services
from app.server.jobs.submit import submit_certify
from app.server.routes.accepted import describe_accepted
from app.server.routes.dependencies import (
    AskedDep,
    IdempotencyKey,
    PreferHeader,
    ServicesDep,
    let_go,
)
from worker.contract import CertificationJob
from worker.jobs.state import get_states

router = APIRouter(tags=["certify"], route_class=FormRoute)

_POLL_AFTER_S = 1
_PROBLEMS = problems.describe(
    problems.FormUnreadable,
    problems.JsonUnreadable,
    problems.IdempotencyInProgress,
    problems.CertificationGone,
    *problems.OF_A_BODY,
    problems.IdempotencyKeyReused,
    problems.ModelUnknown,
    problems.ImageRefused,
    problems.DecodingUnavailable,
    problems.QueueFull,
    problems.ModelUnavailable,
    problems.QuotaExceeded,
    problems.QuotaTooSmall,
    problems.QueueUnavailable,
    problems.StorageFull,
)


_ROUTE: dict[str, Any] = {
    "status_code": 202,
    "response_model": Certification | Batch,
    "responses": {
        **_PROBLEMS,
        200: {"model": Certification | Batch, "description": "Done within the preferred wait"},
        202: describe_accepted(
            "Accepted; Location says where the certificates will be",
            parameter="certification_id",
            operations={
                "follow": "get_certification",
                "progress": "get_events",
                "cancel": "delete_certification",
            },
        ),
    },
}
_JSON = (
    "Certifies images of a JSON document, in base64. Fields, limits and answers are those of "
    "`POST /certify`, which takes this body too."
)
_FILE = (
    "Certifies one image file, which is the body; the fields are in the address. Names, limits and "
    "answers are those of `POST /certify`, which takes this body too. The format is detected from "
    "the content; the declared type is ignored."
)


@router.post(
    "/certify/file", openapi_extra=AS_FILE, name="certify_file", description=_FILE, **_ROUTE
)
@router.post(
    "/certify/json", openapi_extra=AS_JSON, name="certify_json", description=_JSON, **_ROUTE
)
@router.post("/certify", openapi_extra=AS_FORM, **_ROUTE)
async def certify(
    request: Request,
    asked: AskedDep,
    services: ServicesDep,
    caller: Submitter,
    idempotency_key: IdempotencyKey,
    prefer: PreferHeader,
) -> Response:
    """Certifies the prediction for one or more images at one or more noise levels.

    Of several images, those that can be used are accepted and the others are in `refused` of the
    batch, each as a problem of its own; where none can be used the answer is the first one's
    problem. What is wrong with the request itself refuses it whole.
    """
    jobs = await _accept(services, asked, caller, idempotency_key)
    await let_go(request, asked)
    wait_s = parse_wait(prefer, cap_s=services.settings.wait_cap_s)
    done = None if wait_s is None else await _wait(services, jobs, wait_s)
    if (shown := done) is None:
        shown = await to_thread.run_sync(show_all, services.redis, jobs)
    headers = {"Location": shown.links.self}
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    if done is None:
        headers["Retry-After"] = str(_POLL_AFTER_S)
    return JSONResponse(
        shown.model_dump(mode="json"), status_code=202 if done is None else 200, headers=headers
    )


async def _accept(
    services: Services, asked: CertifyBody, caller: Caller, idempotency_key: str | None
) -> list[CertificationJob]:
    """The jobs of this request: queued now, or when its idempotency key was first used."""
    if idempotency_key is None:
        return await submit_certify(services, asked, caller)
    key, fingerprint = parse_key(idempotency_key), await asked.fingerprint()
    found = await to_thread.run_sync(claim, services.redis, caller, key, fingerprint)
    if isinstance(found, list):
        return found
    try:
        return await submit_certify(services, asked, caller, found)
    except WatchError:
        raise problems.IdempotencyInProgress from None
    except (problems.Problem, FieldInvalid):
        await to_thread.run_sync(found.release, services.redis)
        raise


async def _wait(
    services: Services, jobs: list[CertificationJob], wait_s: int
) -> Certification | Batch | None:
    """The answer once all of the jobs have ended, or None if they have not in time."""

    def look() -> Certification | Batch | None:
        states = get_states(services.redis, [job.id for job in jobs])
        if {"queued", "running"}.intersection(states):
            return None
        return show_all(services.redis, jobs)

    return await wait_until(look, wait_s)
