"""What every answer carries: the id of its request, and the security headers."""

import logging
import re
import secrets
from contextvars import ContextVar
from traceback import extract_tb

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.answers.problems import InternalError, create_response

_log = logging.getLogger(__name__)
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")

# What is no page is shown as none; pages say what they need themselves (`routes.pages`).
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
    """The id of the request that is answered here; jobs carry it into the workers' log."""
    return _request_id.get()


class RequestContext:
    """Gives each request an id, and each answer that id and the security headers.

    Behind a proxy the id is the proxy's, so that both logs name a request alike.

    What nobody handled ends here: an answer without a stack, and a log line with one. The error's
    own text stays out of both, because it can repeat what was sent.
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
    fields = {"request_id": request_id, "error": type(error).__name__, "stack": stack}
    _log.error("internal_error", extra={"fields": fields})
