"""Refuses requests that could be read in two ways, or that a slip would turn into others.

Encoded bodies, repeated parameters, and parameters that the address does not have: a misspelt one
would leave the default in its place.
"""

from collections.abc import Collection, Sequence
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.access.routes import Access, find_route, is_public
from app.server.answers.problems import (
    FieldRepeated,
    FieldUnknown,
    MediaTypeUnsupported,
    Problem,
    create_response,
)
from app.server.forms import certify, listing

_CODINGS = ("gzip", "x-gzip", "deflate", "compress", "br", "zstd")  # IANA's registry
_MOST_PARAMETERS = 1000
_REPEATABLE = (  # by the end of the path
    ("/certify", certify.REPEATABLE),
    ("/certify/file", certify.REPEATABLE),
    ("/certifications", listing.REPEATABLE),
    ("/votes", frozenset({"sample"})),
)
_CHECK_THEMSELVES = frozenset({"/certify", "/certify/file", "/certify/json"})


class PlainRequests:
    """Answers 415 for a body with a content coding, 422 for a parameter twice or an unknown one."""

    def __init__(self, app: ASGIApp, *, access: Sequence[Access]) -> None:
        self.app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._find_problem(scope) if scope["type"] == "http" else None
        if problem is not None:
            await create_response(Request(scope), problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _find_problem(self, scope: Scope) -> Problem | None:
        if not scope["query_string"]:
            return _find_coding(scope)
        try:
            names = _list_names(scope["query_string"])
        except ValueError:
            return FieldUnknown(f"The address has more than {_MOST_PARAMETERS} parameters.")
        repeatable = _list_repeatable(scope["path"])
        once = [name for name in names if name not in repeatable]
        if len(set(once)) < len(once):
            return FieldRepeated(_REPEATED)
        return self._find_unknown(scope, names) or _find_coding(scope)

    def _find_unknown(self, scope: Scope, names: Collection[str]) -> Problem | None:
        """Refuses a parameter that the route does not have. Pages and probes take any."""
        if is_public(scope["path"]) or scope["path"] in _CHECK_THEMSELVES:
            return None
        route = find_route(self._access, scope["method"], scope["path"])
        if route is None or route.query.issuperset(names):
            return None
        known = f"Known: {', '.join(sorted(route.query))}." if route.query else "It takes none."
        return FieldUnknown(
            f"The address has a parameter that is not known here; nothing was done. {known}"
        )


def _find_coding(scope: Scope) -> Problem | None:
    coding = Headers(scope=scope).get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return None
    named = coding if coding in _CODINGS else "one"
    return MediaTypeUnsupported(
        f"Expected a body without a content coding, got {named} in Content-Encoding. "
        "Send the body as it is."
    )


def _list_repeatable(path: str) -> Collection[str]:
    return {name for end, names in _REPEATABLE if path.endswith(end) for name in names}


def _list_names(query: bytes) -> list[str]:
    """The names of the parameters. ValueError: there are too many."""
    text = query.decode("latin-1")
    return [
        name for name, _ in parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    ]


_REPEATED = "A parameter of the address came twice and is taken once; nothing was done."
