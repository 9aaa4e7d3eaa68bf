"""POST /certify."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from app import errors
from app.deps import (
    CertifyFormDep,
    OnlyKnownFields,
    PreferHeader,
    Services,
    ServicesDep,
)
from app.lookup import accepted, create_batch, is_done, show, show_batch
from app.schemas import Batch, Certification
from app.security import Submitter
from app.submission import submit
from app.waiting import parse_wait, wait_until
from worker.contract import CertificationJob

router = APIRouter(tags=["certify"])

_POLL_AFTER_S = 1
_PROBLEMS = errors.describe(
    errors.FormUnreadable,
    errors.BodyTooLarge,
    errors.MediaTypeUnsupported,
    errors.RequestInvalid,
    errors.FieldUnknown,
    errors.FieldRepeated,
    errors.ModelUnknown,
    errors.ImageRefused,
    errors.ModelUnavailable,
    errors.QueueUnavailable,
    errors.StorageFull,
)


@router.post(
    "/certify",
    status_code=202,
    response_model=Certification | Batch,
    dependencies=[OnlyKnownFields],
    responses={
        **_PROBLEMS,
        200: {"model": Certification | Batch, "description": "Done within the preferred wait"},
        202: {"description": "Accepted; Location says where the certificates will be"},
    },
)
async def certify(
    form: CertifyFormDep, services: ServicesDep, caller: Submitter, prefer: PreferHeader = None
) -> Response:
    """Certifies the prediction for one or more images at one or more noise levels."""
    jobs = await submit(services, form, caller)
    wait_s = parse_wait(prefer or [], cap_s=services.settings.wait_cap_s)
    done = None if wait_s is None else await _wait(services, jobs, wait_s)
    if (shown := done) is None:
        shown = await to_thread.run_sync(_accepted, services, jobs)
    headers = {"Location": shown.links.self}
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    if done is None:
        headers["Retry-After"] = str(_POLL_AFTER_S)
    return JSONResponse(
        shown.model_dump(mode="json"), status_code=202 if done is None else 200, headers=headers
    )


def _accepted(services: Services, jobs: list[CertificationJob]) -> Certification | Batch:
    shown = tuple(accepted(services.redis, job) for job in jobs)
    batch_id = jobs[0].batch_id
    return shown[0] if batch_id is None else create_batch(shown)


async def _wait(
    services: Services, jobs: list[CertificationJob], wait_s: int
) -> Certification | Batch | None:
    if jobs[0].batch_id is not None:
        look_at_batch = partial(show_batch, services.redis, jobs)
        return await wait_until(look_at_batch, lambda batch: batch.done == batch.total, wait_s)
    look = partial(show, services.redis, jobs[0])
    return await wait_until(look, is_done, wait_s)
