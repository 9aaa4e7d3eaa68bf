"""Evaluations of datasets that lie with the service: start, follow, read, cancel, purge."""

import re
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.responses import FileResponse, JSONResponse

from app.server.access.caller import Caller, Evaluator, Reader
from app.server.answers import problems
from app.server.answers.evaluations import (
    DatasetList,
    DatasetView,
    EvaluationImages,
    EvaluationList,
    EvaluationNeeds,
    EvaluationView,
    ResultsFile,
)
from app.server.forms.evaluations import BODY, MAX_BYTES, AskedEvaluation, parse_evaluation
from app.server.forms.items import read_body, require_no_query
from app.server.jobs.evaluations.datasets import list_names, list_splits
from app.server.jobs.evaluations.delete import cancel_evaluation, purge_evaluation
from app.server.jobs.evaluations.lookup import (
    find_evaluation,
    list_visible,
    show_evaluation,
    show_images,
    show_needs,
)
from app.server.jobs.evaluations.record import EvaluationFolder, StoredEvaluation
from app.server.jobs.evaluations.submit import (
    find_own_needs,
    find_repeated,
    prepare_evaluation,
    require_folder,
    start_evaluation,
)
from app.server.jobs.idempotency import parse_key
from app.server.jobs.services import Services
from app.server.routes.accepted import describe_accepted
from app.server.routes.dependencies import IdempotencyKey, ServicesDep

router = APIRouter(tags=["evaluations"])

_ID = re.compile(r"[0-9a-f]{32}")
_POLL_AFTER_S = 5
_TYPES = {
    "images.jsonl": "application/jsonl",
    "results.json": "application/json",
    "results.csv": "text/csv",
    "results.md": "text/markdown",
    "results.tex": "application/x-tex",
    "plot.svg": "image/svg+xml",
    "plot.png": "image/png",
}
_CONTENT: dict[str, Any] = {kind: {} for kind in _TYPES.values()}
_CONTENT["application/json"] = {"schema": {"type": "object"}}
_ASKED = problems.describe(
    problems.JsonUnreadable,
    problems.BodyTooLarge,
    problems.RequestInvalid,
    problems.FieldUnknown,
    problems.ModelUnknown,
    problems.EvaluationsOff,
    problems.ModelUnavailable,
    problems.QueueUnavailable,
)
_FOUND = problems.describe(problems.EvaluationUnknown, problems.EvaluationsOff)
Only = Annotated[
    Literal["cancel"] | None,
    Query(description="cancel: what has ended is not purged, whatever happened meanwhile."),
]


def _check_id(evaluation_id: Annotated[str, Path()]) -> str:
    if not _ID.fullmatch(evaluation_id):
        raise problems.EvaluationUnknown
    return evaluation_id


EvaluationId = Annotated[str, Depends(_check_id)]


async def _parse(request: Request) -> AskedEvaluation:
    require_no_query(request)
    return parse_evaluation(bytes(await read_body(request, most=MAX_BYTES)))


BodyDep = Annotated[AskedEvaluation, Depends(_parse)]


def _find(
    services: Services, evaluation_id: str, caller: Caller
) -> tuple[EvaluationFolder, StoredEvaluation]:
    return find_evaluation(require_folder(services), evaluation_id, caller)


@router.get("/datasets")
def list_datasets(services: ServicesDep, _: Reader) -> DatasetList:
    """The datasets that lie with the service, by the names that an evaluation can give."""
    settings = services.settings
    found = (DatasetView(name=n, splits=list_splits(settings, n)) for n in list_names(settings))
    return DatasetList(datasets=tuple(found))


@router.post("/evaluations/estimate", responses=_ASKED, openapi_extra=BODY)
def estimate_evaluation(services: ServicesDep, body: BodyDep, caller: Evaluator) -> EvaluationNeeds:
    """What an evaluation would take of disk, memory and time. Nothing is started."""
    prepared = prepare_evaluation(services, body, caller, read_files=False)
    return show_needs(services.redis, prepared, find_own_needs(services, prepared))


@router.post(
    "/evaluations",
    status_code=202,
    response_model=EvaluationView,
    openapi_extra=BODY,
    responses={
        **_ASKED,
        **problems.describe(
            problems.EvaluationTooLarge,
            problems.IdempotencyKeyReused,
            problems.AuditLogUnavailable,
        ),
        202: describe_accepted(
            "Accepted; Location says where its progress will be",
            parameter="evaluation_id",
            operations={"follow": "get_evaluation", "cancel": "delete_evaluation"},
        ),
    },
)
async def evaluate(
    services: ServicesDep, body: BodyDep, caller: Evaluator, idempotency_key: IdempotencyKey
) -> Response:
    """Certifies the images of a dataset that lies with the service, in the lowest priority.

    Every image is a certification of the caller's. An evaluation goes on after a restart of
    whatever part of the service, and a worker host that joins helps at once.
    """
    key = None if idempotency_key is None else parse_key(idempotency_key)
    shown = await to_thread.run_sync(_start, services, body, caller, key)
    headers = {"Location": shown.links.self, "Retry-After": str(_POLL_AFTER_S)}
    return JSONResponse(shown.model_dump(mode="json"), status_code=202, headers=headers)


def _start(
    services: Services, body: AskedEvaluation, caller: Caller, key: str | None
) -> EvaluationView:
    stored = None if key is None else find_repeated(services, body, caller, key)
    if stored is None:
        prepared = prepare_evaluation(services, body, caller, key)
        stored = start_evaluation(services, prepared)
    return show_evaluation(EvaluationFolder(require_folder(services) / stored.id), stored)


@router.get("/evaluations", responses=problems.describe(problems.EvaluationsOff))
def list_evaluations(services: ServicesDep, caller: Reader) -> EvaluationList:
    """The caller's evaluations, newest first."""
    return list_visible(require_folder(services), caller)


@router.get("/evaluations/{evaluation_id}", responses=_FOUND)
def get_evaluation(
    evaluation_id: EvaluationId, services: ServicesDep, caller: Reader
) -> EvaluationView:
    """Where an evaluation stands: images done, time left, and the table of what is finished."""
    return show_evaluation(*_find(services, evaluation_id, caller))


@router.get("/evaluations/{evaluation_id}/images", responses=_FOUND)
def get_evaluation_images(
    evaluation_id: EvaluationId, services: ServicesDep, caller: Reader
) -> EvaluationImages:
    """What every finished image's certificates say, row by row."""
    return show_images(*_find(services, evaluation_id, caller))


@router.get(
    "/evaluations/{evaluation_id}/{name}",
    response_class=Response,
    responses={
        **_FOUND,
        **problems.describe(problems.EvaluationNotFinished),
        200: {"content": _CONTENT, "description": "The file"},
    },
)
def get_evaluation_results(
    evaluation_id: EvaluationId, name: ResultsFile, services: ServicesDep, caller: Reader
) -> FileResponse:
    """The files of a finished evaluation as `promptsmooth evaluate` writes them.

    `images.jsonl` has every image's certificates, a line for each.
    """
    folder, _ = _find(services, evaluation_id, caller)
    ended = folder.find_end()
    if ended is None or ended.status != "finished":
        raise problems.EvaluationNotFinished
    return FileResponse(folder.path / name, media_type=_TYPES[name])


@router.delete(
    "/evaluations/{evaluation_id}",
    response_model=EvaluationView,
    responses={
        **_FOUND,
        **problems.describe(problems.QueueUnavailable),
        200: {"description": "It is cancelled now, or had ended and was only to be cancelled"},
        204: {"description": "It had ended, and is purged now"},
    },
)
def delete_evaluation(
    evaluation_id: EvaluationId, services: ServicesDep, caller: Evaluator, only: Only = None
) -> Response:
    """Cancels an evaluation that is queued or running; purges one that has ended.

    Purging removes its folder and its certifications with their images and votes.
    """
    folder, asked = _find(services, evaluation_id, caller)
    ended = folder.has_ended
    if ended and only is None:
        purge_evaluation(services, folder, asked)
        return Response(status_code=204)
    if not ended:
        cancel_evaluation(services, folder, asked)
    return JSONResponse(show_evaluation(folder, asked).model_dump(mode="json"))
