"""Cross-origin requests: only pages of the configured origins may use this API from a browser."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.server.answers.problems import OriginRefused, create_response

METHODS = ("GET", "POST", "DELETE")
REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Content-Type", "Prefer", "Idempotency-Key"),
    *("If-None-Match", "Last-Event-ID"),
)
ANSWER_HEADERS = (
    *("Location", "Retry-After", "Preference-Applied", "ETag", "Link", "X-Request-ID"),
    *("RateLimit", "RateLimit-Policy"),
)


class CrossOrigin(CORSMiddleware):
    """Starlette's, without cookies (keys come in a header), and with problems as refusals."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_preflight(scope):
            answer = self.preflight_response(Headers(scope=scope))
            if answer.status_code >= 400:
                answer = _refuse(Request(scope))
            await answer(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    asked = "origin" in headers and "access-control-request-method" in headers
    return scope["method"] == "OPTIONS" and asked


def _refuse(request: Request) -> Response:
    return create_response(request, OriginRefused(headers={"Vary": "Origin"}))
