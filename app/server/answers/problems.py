"""What the service refuses or fails at: one class per HTTP status and stable code.

Every error is answered as an RFC 9457 document, `application/problem+json`. The `text` of a class
is its default detail. No text repeats what was sent, because that can hold patient data.

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

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.server.answers.schemas import FieldError, ProblemDocument
from models.imaging import ImageError
from models.imaging.pixels.errors import list_errors as list_image_errors
from worker.contract import RefusedImage

# Redis is unreachable, too slow, or refuses: out of memory, disk full, read-only.
QUEUE_AWAY = (RedisConnectionError, RedisTimeoutError, ResponseError)
MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """The request could not be answered."""

    status: int
    code: str
    text: str
    retry_after_s: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        super().__init__(self.status, detail or self.text, {**retry, **(headers or {})})
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
    status, code = 400, "form_unreadable"
    text = "The body is no well-formed multipart form."


class HttpInvalid(Problem):
    status, code = 400, "http_invalid"
    text = "What came is no HTTP request, or its headers are longer than this service reads."


class KeyMissing(Problem):
    status, code = 401, "key_missing"
    text = "This service answers to keys: send one as Authorization: Bearer KEY or as X-API-Key."


class KeyInvalid(Problem):
    status, code = 401, "key_invalid"
    text = "The key is none of this service's, has expired or was revoked."


class ScopeMissing(Problem):
    status, code = 403, "scope_missing"
    text = "The key does not have the scope that this takes."


class KeysRequired(Problem):
    status, code = 403, "keys_required"
    text = (
        "This service has no keys yet, so it answers on its own machine alone. Its operator makes "
        "keys with promptsmooth keys add."
    )


class JsonUnreadable(Problem):
    status, code = 400, "json_unreadable"
    text = "The body is no JSON object, has a name twice in one object or NaN, or is too much."


class OriginRefused(Problem):
    status, code = 403, "origin_refused"
    text = "A page of another origin, or this use of the interface by one, is not allowed here."


class NotFound(Problem):
    status, code = 404, "not_found"
    text = "There is nothing at this address."


class CertificationUnknown(Problem):
    status, code = 404, "certification_unknown"
    text = "There is no certification with this id; it never was, or its time to live has passed."


class BatchUnknown(Problem):
    status, code = 404, "batch_unknown"
    text = "There is no batch with this id; it never was, or its time to live has passed."


class VotesUnknown(Problem):
    status, code = 404, "votes_unknown"
    text = (
        "There are no such votes: not finished, no such certificate, phase or sample, or expired."
    )


class ModelNotFound(Problem):
    status, code = 404, "model_not_found"
    text = "There is no model with this id. GET /models lists those there are."


class PromptNotFound(Problem):
    status, code = 404, "prompt_not_found"
    text = "There is no prompt with this id or digest. GET /prompts lists those there are."


class PromptJobUnknown(Problem):
    status, code = 404, "prompt_job_unknown"
    text = "There is no job of learning with this id; it never was, or its time to live has passed."


class MethodNotAllowed(Problem):
    status, code = 405, "method_not_allowed"
    text = "This address does not answer this method; the Allow header lists those it does."


class BodyTooSlow(Problem):
    status, code = 408, "body_too_slow"
    text = "The request body took longer than this service waits for it."


class HeadersTooSlow(Problem):
    status, code = 408, "headers_too_slow"
    text = "The headers of the request took longer than this service waits for them."


class NotFinished(Problem):
    status, code = 409, "not_finished"
    text = "There is no report before a certification has finished, nor where it ended without one."


class PromptIdTaken(Problem):
    status, code = 409, "prompt_id_taken"
    text = "The id names another prompt, or named one before its removal; choose another id."


class PromptShips(Problem):
    status, code = 409, "prompt_ships"
    text = "This prompt ships with the service and cannot be removed."


class PromptKept(Problem):
    status, code = 409, "prompt_kept"
    text = "This prompt was tuned on an image; it stays as long as the certificates that name it."


class IdempotencyInProgress(Problem):
    status, code, retry_after_s = 409, "idempotency_in_progress", 1
    text = (
        "A request with this idempotency key is being answered at this moment; ask again shortly."
    )


class InputImageExpired(Problem):
    status, code = 410, "input_image_expired"
    text = "The certified image is no longer stored; send the picture again to see it."


class CertificationGone(Problem):
    status, code = 410, "certification_gone"
    text = "The certification that this idempotency key was first used for has been purged."


class BodyTooLarge(Problem):
    status, code = 413, "body_too_large"
    text = "The request body is larger than this service accepts."


class MediaTypeUnsupported(Problem):
    status, code = 415, "media_type_unsupported"
    text = "The body is of a type that is not taken at this address."


class PromptFormatUnsupported(Problem):
    status, code = 415, "prompt_format_unsupported"
    text = (
        "Expected safetensors with one tensor ctx, or a prompt in JSON as GET /prompts/{id}/ctx "
        "has it. A checkpoint of torch is taken by the command promptsmooth prompts import alone."
    )


class HostUnknown(Problem):
    status, code = 421, "host_unknown"
    text = "This service does not answer under the name in the Host header."


class RequestInvalid(Problem):
    status, code = 422, "request_invalid"
    text = "A field is missing or outside its range; `errors` says which and what is expected."


class FieldUnknown(Problem):
    status, code = 422, "field_unknown"
    text = "The request has a field or parameter that this service does not know; nothing was done."


class FieldRepeated(Problem):
    status, code = 422, "field_repeated"
    text = "The form has a field twice that is taken once; nothing was queued."


class IdempotencyKeyReused(Problem):
    status, code = 422, "idempotency_key_reused"
    text = (
        "This idempotency key was used for another request; nothing was queued. Choose a new one."
    )


class ModelUnknown(Problem):
    status, code = 422, "model_unknown"
    text = "There is no model with this id; `known` lists those there are."


class PromptInvalid(Problem):
    status, code = 422, "prompt_invalid"
    text = "The file holds no prompt, or none for this model; `detail` says what was expected."


class TrainingImagesInvalid(Problem):
    status, code = 422, "training_images_invalid"
    text = "The images are not enough, not labelled or not readable; nothing was queued."


class ImageRefused(Problem):
    status, code = 422, "image_invalid"
    text = "An image cannot be used."

    def __init__(self, error: ImageError, *, index: int, count: int) -> None:
        error.__traceback__ = None  # its frames hold the file, in a circle that is collected late
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
    status, code, retry_after_s = 429, "rate_limited", 1
    text = "This key has sent more requests than it may in a minute."


class QuotaExceeded(Problem):
    status, code, retry_after_s = 429, "quota_exceeded", 30
    text = "This key has more jobs, or has asked for more samples today, than it may."


class InternalError(Problem):
    status, code = 500, "internal_error"
    text = "Something went wrong inside the service; quote the request_id to its operator."


class RecordDamaged(Problem):
    status, code = 500, "record_damaged"
    text = (
        "What the service stored of this certification cannot be read any more. Send the image "
        "again; the log of the service names the record."
    )


class TooBusy(Problem):
    status, code, retry_after_s = 503, "too_busy", 1
    text = "As many requests as this service answers at a time are under way; try again shortly."


class AuditLogUnavailable(Problem):
    status, code, retry_after_s = 503, "audit_log_unavailable", 30
    text = "The audit log cannot be written, and nothing is done here that is not in it."


class QueueUnavailable(Problem):
    status, code, retry_after_s = 503, "queue_unavailable", 2
    text = "The queue cannot be reached or takes nothing at the moment; try again shortly."


class StorageFull(Problem):
    status, code, retry_after_s = 503, "storage_full", 30
    text = (
        "The memory of the queue is full; nothing was queued, and what was accepted before goes on."
    )


class ModelUnavailable(Problem):
    status, code, retry_after_s = 503, "model_unavailable", 30
    text = (
        "No worker host can certify with this model, for its files are missing or unusable there; "
        "nothing was queued. GET /models says what each host lacks."
    )


class DecodingUnavailable(Problem):
    status, code, retry_after_s = 503, "decoding_unavailable", 5
    text = "Images cannot be decoded at the moment; nothing was queued, and the image may be sound."


class QueueFull(Problem):
    status, code, retry_after_s = 503, "queue_full", 60
    text = (
        "As much work waits as this service accepts; nothing was queued. Try again after the "
        "seconds in Retry-After, which come from the speed that worker hosts measured."
    )


class NotReady(Problem):
    status, code, retry_after_s = 503, "not_ready", 5
    text = "Something that certifying needs is missing; `missing` names it."


OF_A_BODY = (BodyTooLarge, MediaTypeUnsupported, RequestInvalid, FieldUnknown, FieldRepeated)
"""What is wrong with a body, whichever address takes it."""
_IMAGE_STATUS = {
    "image_too_large": 413,
    "image_format_unsupported": 415,
    "pixels_unsupported": 415,
    "transfer_syntax_unsupported": 415,
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
    return {error.code: {"summary": error.summary} for error in found}


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
