"""Learning prompts: submit labelled images, follow the job, cancel it."""

import re
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Form, Path, Response
from redis import Redis
from starlette.responses import JSONResponse

from app.server.access.caller import Caller, Reader, Submitter
from app.server.answers import problems
from app.server.answers.learning import PromptJob, prompt_job
from app.server.forms.items import take_only
from app.server.forms.learning import REPEATABLE, RULES, LearnForm
from app.server.forms.multipart import FormRoute
from app.server.jobs.learn import submit_learn
from app.server.routes.accepted import describe_accepted
from app.server.routes.dependencies import RedisDep, ServicesDep, SettingsDep
from worker.contract import Failure
from worker.contract.learning import (
    MAX_LEARNING_IMAGES,
    CancelledLearning,
    FailedLearning,
    FinishedLearning,
    LearningJob,
)
from worker.learning import store as learning_store
from worker.learning.queue import get_status

router = APIRouter(tags=["prompts"], route_class=FormRoute)

LOST = Failure(
    code="learning_lost",
    detail="The learning ended without a result: every attempt was interrupted. Send the images "
    "again; if this happens twice, the operator finds the reason in the worker's log.",
)
_POLL_AFTER_S = 2
_ID = re.compile(r"[0-9a-f]{32}")
_FORM_LIMITS: Any = {
    "max_files": MAX_LEARNING_IMAGES,
    "max_fields": MAX_LEARNING_IMAGES + 256,
    "max_part_size": 8 * 1024,
}
_FOUND = problems.describe(problems.PromptJobUnknown, problems.QueueUnavailable)


def _check_id(job_id: Annotated[str, Path()]) -> str:
    if not _ID.fullmatch(job_id):
        raise problems.PromptJobUnknown
    return job_id


JobId = Annotated[str, Depends(_check_id)]


@router.post(
    "/prompts/learn",
    status_code=202,
    response_model=PromptJob,
    form_limits=_FORM_LIMITS,
    dependencies=[take_only(RULES, REPEATABLE)],
    responses={
        **problems.describe(
            problems.FormUnreadable,
            problems.PromptIdTaken,
            *problems.OF_A_BODY,
            problems.ModelUnknown,
            problems.TrainingImagesInvalid,
            problems.ImageRefused,
            problems.DecodingUnavailable,
            problems.ModelUnavailable,
            problems.QuotaExceeded,
            problems.QuotaTooSmall,
            problems.QueueUnavailable,
        ),
        202: describe_accepted(
            "Accepted; Location says where the progress will be",
            parameter="job_id",
            operations={"follow": "get_prompt_job", "cancel": "cancel_prompt_job"},
        ),
    },
)
async def learn(
    form: Annotated[LearnForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    caller: Submitter,
) -> Response:
    """Learns a prompt from a few labelled images of each class.

    The images are reduced to the model's 8-bit input and kept for a day; files and their names
    are not kept. The prompt, when it is learned, is there for every worker at once. Sent again, the
    very same request is the same job.
    """
    job = await submit_learn(services, form, caller)
    shown = await to_thread.run_sync(_show, services.redis, job)
    headers = {"Location": shown.links.self, "Retry-After": str(_POLL_AFTER_S)}
    return JSONResponse(shown.model_dump(mode="json"), status_code=202, headers=headers)


@router.get("/prompt-jobs/{job_id}", responses=_FOUND)
def get_prompt_job(job_id: JobId, redis: RedisDep, caller: Reader) -> PromptJob:
    """Where a learning stands: its status and its curve, epoch by epoch."""
    return _find(redis, job_id, caller)


@router.delete("/prompt-jobs/{job_id}", responses=_FOUND)
def cancel_prompt_job(
    job_id: JobId, redis: RedisDep, settings: SettingsDep, caller: Submitter
) -> PromptJob:
    """Ends a learning that is queued or running; one that has ended stays as it is."""
    _find_job(redis, job_id, caller)
    if get_status(redis, job_id) in ("queued", "running"):
        ttl_s = settings.certificate_ttl_s
        learning_store.put_result(redis, job_id, CancelledLearning(), ttl_s=ttl_s)
    return _find(redis, job_id, caller)


def _find_job(redis: Redis, job_id: str, caller: Caller) -> LearningJob:
    job = learning_store.find_job(redis, job_id)
    if job is None or not caller.may_see(job.owner):
        raise problems.PromptJobUnknown
    return job


def _find(redis: Redis, job_id: str, caller: Caller) -> PromptJob:
    return _show(redis, _find_job(redis, job_id, caller))


def _show(redis: Redis, job: LearningJob) -> PromptJob:
    status = get_status(redis, job.id)
    ended: dict[str, Any] = {}
    match learning_store.find_result(redis, job.id):
        case FinishedLearning(prompt_sha256=sha256):
            ended = {"prompt_sha256": sha256}
        case FailedLearning(failure=failure):
            ended = {"failure": failure}
        case None if status == "failed":
            ended = {"failure": LOST}
    return prompt_job(job, status=status, curve=learning_store.find_curve(redis, job.id), **ended)
