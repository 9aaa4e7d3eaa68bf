"""What every answer carries: the id of its request, and the security headers."""

import re
import secrets
from contextvars import ContextVar
from traceback import extract_tb

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.answers.problems import InternalError, create_response
from models.log import get_logger

_log = get_logger(__name__)
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")

# A browser shows nothing but the pages, which set their own policy (`routes.service.pages`).
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def find_request_id() -> str | None:
    """The id of the current request. Jobs carry it into the workers' log."""
    return _request_id.get()


class RequestContext:
    """Gives each request an id, and each answer that id and the security headers.

    Behind a proxy, the proxy's id is used, so that both logs name a request alike.

    Unhandled errors end here: the answer has no stack trace, and the log line has one. The error's
    own text appears in neither, because it can repeat what was sent.
    """

    def __init__(self, app: ASGIApp, *, behind_proxy: bool = False) -> None:
        self.app = app
        self.behind_proxy = behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "") if self.behind_proxy else ""
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        _request_id.set(request_id)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            _log_internal_error(error, request_id)
            if not started:
                response = create_response(Request(scope), InternalError())
                await response(scope, receive, send_with_headers)


def _log_internal_error(error: Exception, request_id: str) -> None:
    stack = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    _log.error("internal_error", request_id=request_id, error=type(error).__name__, stack=stack)
