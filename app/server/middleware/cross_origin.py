"""Cross-origin requests: only pages of the configured origins may use this API from a browser."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.answers.problems import OriginRefused, create_response

METHODS = ("GET", "POST", "DELETE")
REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Content-Type", "Prefer", "Idempotency-Key"),
    *("If-None-Match", "Last-Event-ID"),
)
_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OURS = ("same-origin", "none")  # of Sec-Fetch-Site; none: the user typed the address
ANSWER_HEADERS = (
    *("Location", "Retry-After", "Preference-Applied", "ETag", "Link", "X-Request-ID"),
    *("RateLimit", "RateLimit-Policy"),
)


@dataclass(frozen=True)
class CrossSite:
    """Refuses what a page of another origin sends to change something.

    A browser sends a form to any origin and asks nobody; only the answer is kept from the page. So
    a service without keys, which a browser can reach, would do what every page asks.

    Args:
        allow_origins: the origins whose pages may; `*` is any.
    """

    app: ASGIApp
    allow_origins: Collection[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _LOOKS and self._is_foreign(scope):
            await _refuse(Request(scope))(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        """Browsers say where a page comes from; other clients say nothing of it."""
        headers = Headers(scope=scope)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if "*" in self.allow_origins or origin in self.allow_origins:
            return False
        if site is not None:
            return site not in _OURS
        return origin is not None and not _is_at(origin, headers.get("host", ""))


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


def _is_at(origin: str, host: str) -> bool:
    """Whether an origin is a page of this host. One that cannot be read is a page of nobody.

    Names have no case, and a proxy may write the port that the page's scheme implies (RFC 9110,
    section 4.2.3).
    """
    try:
        page = urlsplit(origin)
        return bool(page.hostname) and _read(page) == _read(urlsplit(f"{page.scheme}://{host}"))
    except ValueError:
        return False


def _read(address: SplitResult) -> tuple[str | None, int | None]:
    port = _DEFAULT_PORTS.get(address.scheme) if address.port is None else address.port
    return address.hostname, port


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    asked = "origin" in headers and "access-control-request-method" in headers
    return scope["method"] == "OPTIONS" and asked


def _refuse(request: Request) -> Response:
    return create_response(request, OriginRefused(headers={"Vary": "Origin"}))
