"""What the service refuses or fails at: one class per HTTP status and stable code.

Every error is answered as an RFC 9457 document, `application/problem+json`. The docstring of a
class is its default text. No text repeats what was sent, because that can hold patient data.

Problem
├── 400 FormUnreadable · JsonUnreadable · HttpInvalid
├── 401 KeyMissing · KeyInvalid
├── 403 ScopeMissing · KeysRequired · OriginRefused
├── 404 NotFound · CertificationUnknown · BatchUnknown · VotesUnknown · ModelNotFound
│       · PromptNotFound · PromptJobUnknown
├── 405 MethodNotAllowed
├── 408 BodyTooSlow · HeadersTooSlow
├── 409 NotFinished · PromptIdTaken · PromptShips · PromptKept · IdempotencyInProgress
├── 410 InputImageExpired · CertificationGone
├── 413 BodyTooLarge                            and ImageRefused, by the image's code
├── 415 MediaTypeUnsupported · PromptFormatUnsupported   and ImageRefused, by the image's code
├── 421 HostUnknown
├── 422 RequestInvalid · FieldUnknown · FieldRepeated · IdempotencyKeyReused · ModelUnknown
│       · PromptInvalid · TrainingImagesInvalid  and ImageRefused
├── 429 RateLimited · QuotaExceeded
├── 500 InternalError · RecordDamaged
└── 503 QueueFull · QueueUnavailable · StorageFull · ModelUnavailable · DecodingUnavailable
        · NotReady · AuditLogUnavailable · TooBusy
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.server.answers.schemas import FieldError, ProblemDocument
from app.server.forms import learning, listing, preview, prompts
from app.server.forms.certify import RULES
from models import imaging
from models.imaging import ImageError
from models.imaging.pixels.errors import list_errors as list_image_errors
from worker.contract import RefusedImage
from worker.store.jobs import damaged

# Redis is unreachable, too slow, or refuses: out of memory, disk full, read-only.
QUEUE_AWAY = (RedisConnectionError, RedisTimeoutError, ResponseError)
MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class Problem(HTTPException):
    """The request could not be answered."""

    status: int
    code: str
    retry_after_s: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        text = " ".join((inspect.getdoc(type(self)) or "").split())
        super().__init__(self.status, detail or text, {**retry, **(headers or {})})
        self.members = members

    def document(self, request_id: str) -> ProblemDocument:
        """The RFC 9457 document of this problem, with its own members."""
        return ProblemDocument(
            type="about:blank",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            request_id=request_id,
            **self.members,
        )


class FormUnreadable(Problem):
    """The body is no well-formed multipart form."""

    status, code = 400, "form_unreadable"


class HttpInvalid(Problem):
    """What came is no HTTP request, or its headers are longer than this service reads."""

    status, code = 400, "http_invalid"


class KeyMissing(Problem):
    """This service answers to keys: send one as Authorization: Bearer KEY or as X-API-Key."""

    status, code = 401, "key_missing"


class KeyInvalid(Problem):
    """The key is none of this service's, has expired or was revoked."""

    status, code = 401, "key_invalid"


class ScopeMissing(Problem):
    """The key does not have the scope that this takes."""

    status, code = 403, "scope_missing"


class KeysRequired(Problem):
    """This service has no keys yet, so it answers on its own machine alone. Its operator makes keys
    with promptsmooth keys add."""

    status, code = 403, "keys_required"


class JsonUnreadable(Problem):
    """The body is no JSON object, or has a name twice in one object, or NaN."""

    status, code = 400, "json_unreadable"


class OriginRefused(Problem):
    """A page of another origin, or this use of the interface by one, is not allowed here."""

    status, code = 403, "origin_refused"


class NotFound(Problem):
    """There is nothing at this address."""

    status, code = 404, "not_found"


class CertificationUnknown(Problem):
    """There is no certification with this id; it never was, or its time to live has passed."""

    status, code = 404, "certification_unknown"


class BatchUnknown(Problem):
    """There is no batch with this id; it never was, or its time to live has passed."""

    status, code = 404, "batch_unknown"


class VotesUnknown(Problem):
    """There are no such votes: not finished, no such certificate, phase or sample, or expired."""

    status, code = 404, "votes_unknown"


class ModelNotFound(Problem):
    """There is no model with this id. GET /models lists those there are."""

    status, code = 404, "model_not_found"


class PromptNotFound(Problem):
    """There is no prompt with this id or digest. GET /prompts lists those there are."""

    status, code = 404, "prompt_not_found"


class PromptJobUnknown(Problem):
    """There is no job of learning with this id; it never was, or its time to live has passed."""

    status, code = 404, "prompt_job_unknown"


class MethodNotAllowed(Problem):
    """This address does not answer this method; the Allow header lists those it does."""

    status, code = 405, "method_not_allowed"


class BodyTooSlow(Problem):
    """The request body took longer than this service waits for it."""

    status, code = 408, "body_too_slow"


class HeadersTooSlow(Problem):
    """The headers of the request took longer than this service waits for them."""

    status, code = 408, "headers_too_slow"


class NotFinished(Problem):
    """There is no report before a certification has finished, nor where it ended without one."""

    status, code = 409, "not_finished"


class PromptIdTaken(Problem):
    """The id names another prompt, or named one before its removal; choose another id."""

    status, code = 409, "prompt_id_taken"


class PromptShips(Problem):
    """This prompt ships with the service and cannot be removed."""

    status, code = 409, "prompt_ships"


class PromptKept(Problem):
    """This prompt was tuned on an image; it stays as long as the certificates that name it."""

    status, code = 409, "prompt_kept"


class IdempotencyInProgress(Problem):
    """A request with this idempotency key is being answered at this moment; ask again shortly."""

    status, code, retry_after_s = 409, "idempotency_in_progress", 1


class InputImageExpired(Problem):
    """The certified image is no longer stored; send the picture again to see it."""

    status, code = 410, "input_image_expired"


class CertificationGone(Problem):
    """The certification that this idempotency key was first used for has been purged."""

    status, code = 410, "certification_gone"


class BodyTooLarge(Problem):
    """The request body is larger than this service accepts."""

    status, code = 413, "body_too_large"


class MediaTypeUnsupported(Problem):
    """The body is of a type that is not taken at this address."""

    status, code = 415, "media_type_unsupported"


class PromptFormatUnsupported(Problem):
    """Expected safetensors with one tensor ctx, or a prompt in JSON as GET /prompts/{id}/ctx has
    it. A checkpoint of torch is taken by the command promptsmooth prompts import alone."""

    status, code = 415, "prompt_format_unsupported"


class HostUnknown(Problem):
    """This service does not answer under the name in the Host header."""

    status, code = 421, "host_unknown"


class RequestInvalid(Problem):
    """A field is missing or outside its range; `errors` says which and what is expected."""

    status, code = 422, "request_invalid"


class FieldUnknown(Problem):
    """The request has a field or parameter that this service does not know; nothing was done."""

    status, code = 422, "field_unknown"


class FieldRepeated(Problem):
    """The form has a field twice that is taken once; nothing was queued."""

    status, code = 422, "field_repeated"


class IdempotencyKeyReused(Problem):
    """This idempotency key was used for another request; nothing was queued. Choose a new one."""

    status, code = 422, "idempotency_key_reused"


class ModelUnknown(Problem):
    """There is no model with this id; `known` lists those there are."""

    status, code = 422, "model_unknown"


class PromptInvalid(Problem):
    """The file holds no prompt, or none for this model; `detail` says what was expected."""

    status, code = 422, "prompt_invalid"


class TrainingImagesInvalid(Problem):
    """The images are not enough, not labelled or not readable; nothing was queued."""

    status, code = 422, "training_images_invalid"


class ImageRefused(Problem):
    """An image cannot be used."""

    status, code = 422, "image_invalid"

    def __init__(self, error: ImageError, *, index: int, count: int) -> None:
        self.code = error.code
        self.status = image_status(error.code)
        place = "" if count == 1 else f"Image {index + 1} of {count}: "
        frames = getattr(error, "frames", None)
        members = {} if frames is None else {"frames": frames}
        super().__init__(f"{place}{error}", image_index=index, **members)
        self.of_image = RefusedImage(
            image_index=index, status=self.status, code=error.code, detail=str(error), **members
        )


class RateLimited(Problem):
    """This key has sent more requests than it may in a minute."""

    status, code, retry_after_s = 429, "rate_limited", 1


class QuotaExceeded(Problem):
    """This key has more jobs, or has asked for more samples today, than it may."""

    status, code, retry_after_s = 429, "quota_exceeded", 30


class InternalError(Problem):
    """Something went wrong inside the service; quote the request_id to its operator."""

    status, code = 500, "internal_error"


class RecordDamaged(Problem):
    """What the service stored of this certification cannot be read any more. Send the image again;
    the log of the service names the record."""

    status, code = 500, "record_damaged"


class TooBusy(Problem):
    """As many requests as this service answers at a time are under way; try again shortly."""

    status, code, retry_after_s = 503, "too_busy", 1


class AuditLogUnavailable(Problem):
    """The audit log cannot be written, and nothing is done here that is not in it."""

    status, code, retry_after_s = 503, "audit_log_unavailable", 30


class QueueUnavailable(Problem):
    """The queue cannot be reached or takes nothing at the moment; try again shortly."""

    status, code, retry_after_s = 503, "queue_unavailable", 2


class StorageFull(Problem):
    """The memory of the queue is full; nothing was queued, and what was accepted before goes on."""

    status, code, retry_after_s = 503, "storage_full", 30


class ModelUnavailable(Problem):
    """No worker host can certify with this model, for its files are missing or unusable there;
    nothing was queued. GET /models says what each host lacks."""

    status, code, retry_after_s = 503, "model_unavailable", 30


class DecodingUnavailable(Problem):
    """Images cannot be decoded at the moment; nothing was queued, and the image may be sound."""

    status, code, retry_after_s = 503, "decoding_unavailable", 5


class QueueFull(Problem):
    """As much work waits as this service accepts; nothing was queued. Try again after the seconds
    in Retry-After, which come from the speed that worker hosts measured."""

    status, code, retry_after_s = 503, "queue_full", 60


class NotReady(Problem):
    """Something that certifying needs is missing; `missing` names it."""

    status, code, retry_after_s = 503, "not_ready", 5


_IMAGE_STATUS = {
    "image_too_large": 413,
    "image_format_unsupported": 415,
    "pixels_unsupported": 415,
    "transfer_syntax_unsupported": 415,
}
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


def image_status(code: str) -> int:
    """The HTTP status for an image error's code."""
    return _IMAGE_STATUS.get(code, 422)


def invalid(field: str, expected: str) -> RequestInvalid:
    """The problem of one field; `expected` is a noun phrase."""
    return RequestInvalid(
        f"{field}: expected {expected}.",
        errors=(FieldError(field=field, detail=f"Expected {expected}."),),
    )


def list_codes() -> Iterator[tuple[str, int]]:
    """Every code that an answer can have, with its status."""
    for problem in Problem.__subclasses__():
        if problem is not ImageRefused:
            yield problem.code, problem.status
    yield from ((error.code, image_status(error.code)) for error in list_image_errors())


def describe(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for an endpoint that can answer with these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    found = (CertificationUnknown, BatchUnknown)  # a stored record can be damaged
    damaged = (RecordDamaged,) if any(one in problems for one in found) else ()
    for problem in (*problems, *damaged, InternalError):
        for status in _statuses(problem):
            entry = responses.setdefault(status, _described(status))
            entry["content"][MEDIA_TYPE]["examples"].update(_examples(problem, status))
    return responses


def _statuses(problem: type[Problem]) -> tuple[int, ...]:
    return (413, 415, 422) if problem is ImageRefused else (problem.status,)


def _described(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": schema, "examples": {}}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _examples(problem: type[Problem], status: int) -> dict[str, Any]:
    if problem is not ImageRefused:
        return {
            problem.code: {
                "value": problem().document("0" * 32).model_dump(mode="json", exclude_unset=True)
            }
        }
    found = [e for e in list_image_errors() if image_status(e.code) == status]
    return {error.code: {"summary": inspect.getdoc(error)} for error in found}


def create_response(request: Request, problem: Problem) -> Response:
    """The HTTP response for a problem."""
    document = problem.document(request.scope["state"]["request_id"])
    request.scope["state"]["problem"] = problem.code  # for the audit log
    return JSONResponse(
        document.model_dump(mode="json", exclude_unset=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


async def _on_http(request: Request, error: Exception) -> Response:
    """Handles our problems and the framework's: unknown path, wrong method, malformed multipart."""
    if isinstance(error, Problem):
        return create_response(request, error)
    http_error = cast(HTTPException, error)
    problem = _BY_STATUS.get(http_error.status_code, InternalError)
    detail = http_error.detail if problem is FormUnreadable else None  # fixed texts, no echo
    return create_response(request, problem(detail, headers=http_error.headers))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Names the field and its rule only; what was sent is left out."""
    problems = cast(RequestValidationError, error).errors()
    if any(p["type"] == "extra_forbidden" and p["loc"][0] == "query" for p in problems):
        return create_response(request, FieldUnknown())
    found = {e.field: e for e in map(_field_error, problems)}
    detail = " ".join(f"{e.field}: {e.detail}" for e in found.values())
    return create_response(request, RequestInvalid(detail, errors=tuple(found.values())))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    name = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
    if error["type"] == "missing":
        return FieldError(field=name, detail=f"Missing. Expected: {_RULES.get(name, 'a value')}.")
    return FieldError(field=name, detail=f"Expected: {_RULES.get(name, 'another value')}.")


async def _on_redis(request: Request, error: Exception) -> Response:
    fields = {"error": type(error).__name__, "request_id": request.scope["state"]["request_id"]}
    full = isinstance(error, OutOfMemoryError)
    _log.warning("storage_full" if full else "queue_unavailable", extra={"fields": fields})
    return create_response(request, StorageFull() if full else QueueUnavailable())


async def _on_damaged(request: Request, _error: Exception) -> Response:
    """The code that read the record has already logged it."""
    return create_response(request, RecordDamaged())


async def _on_decoding(request: Request, _error: Exception) -> Response:
    fields = {"request_id": request.scope["state"]["request_id"]}
    _log.warning("decoding_unavailable", extra={"fields": fields})
    return create_response(request, DecodingUnavailable())


def add_handlers(app: FastAPI) -> None:
    """Turns every error of the app into a problem document."""
    app.add_exception_handler(imaging.DecodingUnavailable, _on_decoding)
    app.add_exception_handler(damaged.RecordDamaged, _on_damaged)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for redis_error in QUEUE_AWAY:
        app.add_exception_handler(redis_error, _on_redis)
