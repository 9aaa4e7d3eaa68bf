"""Errors of the app, of the framework and of Redis, each answered by its problem document."""

from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import OutOfMemoryError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.request.refusal import FieldInvalid
from app.server.answers import problems
from app.server.answers.schemas import FieldError
from app.server.forms import learning, listing, preview, prompts, reach
from app.server.forms.certify import RULES
from models import imaging
from models.log import get_logger
from worker.store.jobs import damaged

_log = get_logger(__name__)

_MOST_FAULTS = 32
_RULES = {
    **listing.RULES,
    **learning.RULES,
    **prompts.RULES,
    **preview.RULES,
    **RULES,
    **reach.RULES,
}
_BY_STATUS: dict[int, type[problems.Problem]] = {
    400: problems.FormUnreadable,
    404: problems.NotFound,
    405: problems.MethodNotAllowed,
    413: problems.BodyTooLarge,
}


async def _on_http(request: Request, error: Exception) -> Response:
    """Handles our problems and the framework's: unknown path, wrong method, malformed multipart."""
    if isinstance(error, problems.Problem):
        return problems.create_response(request, error)
    http_error = cast(HTTPException, error)
    problem = _BY_STATUS.get(http_error.status_code, problems.InternalError)
    fixed = problem is problems.FormUnreadable  # a fixed text, no echo
    detail = http_error.detail if fixed else None
    return problems.create_response(request, problem(detail, headers=http_error.headers))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Names the first fields and their rules only; what was sent is left out."""
    faults = cast(RequestValidationError, error).errors()
    if any(p["type"] == "extra_forbidden" and p["loc"][0] == "query" for p in faults):
        return problems.create_response(request, problems.FieldUnknown())
    found = {e.field: e for e in map(_field_error, faults[:_MOST_FAULTS])}
    detail = " ".join(f"{e.field}: {e.detail[0].lower()}{e.detail[1:]}" for e in found.values())
    return problems.create_response(
        request, problems.RequestInvalid(detail, errors=tuple(found.values()))
    )


def _field_error(error: Mapping[str, Any]) -> FieldError:
    name = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
    if error["type"] == "missing":
        return FieldError(field=name, detail=f"Missing; expected {_RULES.get(name, 'a value')}.")
    return FieldError(field=name, detail=f"Expected {_RULES.get(name, 'another value')}.")


async def _on_field(request: Request, error: Exception) -> Response:
    """Answers a field that the request itself refuses, in the words of the command line."""
    refused = cast(FieldInvalid, error)
    return problems.create_response(request, problems.invalid(refused.field, refused.expected))


async def _on_redis(request: Request, error: Exception) -> Response:
    fields = {"error": type(error).__name__, "request_id": request.scope["state"]["request_id"]}
    full = isinstance(error, OutOfMemoryError)
    _log.warning("storage_full" if full else "queue_unavailable", **fields)
    return problems.create_response(
        request, problems.StorageFull() if full else problems.QueueUnavailable()
    )


async def _on_damaged(request: Request, _error: Exception) -> Response:
    """The code that read the record has already logged it."""
    return problems.create_response(request, problems.RecordDamaged())


async def _on_decoding(request: Request, _error: Exception) -> Response:
    _log.warning("decoding_unavailable", request_id=request.scope["state"]["request_id"])
    return problems.create_response(request, problems.DecodingUnavailable())


def add_handlers(app: FastAPI) -> None:
    """Turns every error of the app into a problem document."""
    app.add_exception_handler(imaging.DecodingUnavailable, _on_decoding)
    app.add_exception_handler(damaged.RecordDamaged, _on_damaged)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(FieldInvalid, _on_field)
    for redis_error in problems.QUEUE_AWAY:
        app.add_exception_handler(redis_error, _on_redis)
