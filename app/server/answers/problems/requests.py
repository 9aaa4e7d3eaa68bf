"""What is wrong with a request as such, whatever it asks for."""

from app.server.answers.problems.problem import Problem
from app.server.answers.schemas import FieldError


class FormUnreadable(Problem):
    status, code = 400, "form_unreadable"
    text = "The body is no well-formed multipart form."


class JsonUnreadable(Problem):
    status, code = 400, "json_unreadable"
    text = "The body is no JSON object, has a name twice in one object or NaN, or is too much."


class HttpInvalid(Problem):
    status, code = 400, "http_invalid"
    text = "What came is no HTTP request, or its headers are longer than this service reads."


class OriginRefused(Problem):
    status, code = 403, "origin_refused"
    text = "A page of another origin, or this use of the interface by one, is not allowed here."


class NotFound(Problem):
    status, code = 404, "not_found"
    text = "There is nothing at this address."


class MethodNotAllowed(Problem):
    status, code = 405, "method_not_allowed"
    text = "This address does not answer this method; the Allow header lists those it does."


class BodyTooSlow(Problem):
    status, code = 408, "body_too_slow"
    text = "The request body took longer than this service waits for it."


class HeadersTooSlow(Problem):
    status, code = 408, "headers_too_slow"
    text = "The headers of the request took longer than this service waits for them."


class BodyTooLarge(Problem):
    status, code = 413, "body_too_large"
    text = "The request body is larger than this service accepts."


class MediaTypeUnsupported(Problem):
    status, code = 415, "media_type_unsupported"
    text = "The body is of a type that is not taken at this address."


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


class IdempotencyInProgress(Problem):
    status, code, retry_after_s = 409, "idempotency_in_progress", 1
    text = (
        "A request with this idempotency key is being answered at this moment; ask again shortly."
    )


class IdempotencyKeyReused(Problem):
    status, code = 422, "idempotency_key_reused"
    text = (
        "This idempotency key was used for another request; nothing was queued. Choose a new one."
    )


OF_A_BODY = (BodyTooLarge, MediaTypeUnsupported, RequestInvalid, FieldUnknown, FieldRepeated)
"""What is wrong with a body, whichever address takes it."""


def invalid(field: str, expected: str) -> RequestInvalid:
    """The problem of one field; `expected` is a noun phrase."""
    return RequestInvalid(
        f"{field}: expected {expected}.",
        errors=(FieldError(field=field, detail=f"Expected {expected}."),),
    )
