"""Errors of the app, of the framework and of Redis, each answered by its problem document."""

import logging
from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import OutOfMemoryError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.request.refusal import FieldInvalid
from app.server.answers.problems import (
    QUEUE_AWAY,
    BodyTooLarge,
    DecodingUnavailable,
    FieldUnknown,
    FormUnreadable,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    QueueUnavailable,
    RecordDamaged,
    RequestInvalid,
    StorageFull,
    create_response,
    invalid,
)
from app.server.answers.schemas import FieldError
from app.server.forms import learning, listing, preview, prompts
from app.server.forms.certify import RULES
from models import imaging
from worker.store.jobs import damaged

_log = logging.getLogger(__name__)

_RULES = {
    **listing.RULES,
    **learning.RULES,
    **prompts.RULES,
    **preview.RULES,
    **RULES,
}
_BY_STATUS: dict[int, type[Problem]] = {
    400: FormUnreadable,
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
}


async def _on_http(request: Request, error: Exception) -> Response:
    """Ours, and those of the framework: unknown path, wrong method, malformed multipart."""
    if isinstance(error, Problem):
        return create_response(request, error)
    http_error = cast(HTTPException, error)
    problem = _BY_STATUS.get(http_error.status_code, InternalError)
    detail = http_error.detail if problem is FormUnreadable else None  # fixed texts, no echo
    return create_response(request, problem(detail, headers=http_error.headers))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """What came is left out; only the field's name and its rule are said."""
    problems = cast(RequestValidationError, error).errors()
    if any(p["type"] == "extra_forbidden" and p["loc"][0] == "query" for p in problems):
        return create_response(request, FieldUnknown())
    found = {e.field: e for e in map(_field_error, problems)}
    detail = " ".join(f"{e.field}: {e.detail[0].lower()}{e.detail[1:]}" for e in found.values())
    return create_response(request, RequestInvalid(detail, errors=tuple(found.values())))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    name = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
    if error["type"] == "missing":
        return FieldError(field=name, detail=f"Missing; expected {_RULES.get(name, 'a value')}.")
    return FieldError(field=name, detail=f"Expected {_RULES.get(name, 'another value')}.")


async def _on_field(request: Request, error: Exception) -> Response:
    """A field that the request itself refuses, over HTTP as at the command line."""
    refused = cast(FieldInvalid, error)
    return create_response(request, invalid(refused.field, refused.expected))


async def _on_redis(request: Request, error: Exception) -> Response:
    fields = {"error": type(error).__name__, "request_id": request.scope["state"]["request_id"]}
    full = isinstance(error, OutOfMemoryError)
    _log.warning("storage_full" if full else "queue_unavailable", extra={"fields": fields})
    return create_response(request, StorageFull() if full else QueueUnavailable())


async def _on_damaged(request: Request, _error: Exception) -> Response:
    """The log has its line already, from where it was read."""
    return create_response(request, RecordDamaged())


async def _on_decoding(request: Request, _error: Exception) -> Response:
    fields = {"request_id": request.scope["state"]["request_id"]}
    _log.warning("decoding_unavailable", extra={"fields": fields})
    return create_response(request, DecodingUnavailable())


def add_handlers(app: FastAPI) -> None:
    """Every error of the app becomes a problem document."""
    app.add_exception_handler(imaging.DecodingUnavailable, _on_decoding)
    app.add_exception_handler(damaged.RecordDamaged, _on_damaged)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(FieldInvalid, _on_field)
    for redis_error in QUEUE_AWAY:
        app.add_exception_handler(redis_error, _on_redis)
