"""Refuses requests that could be read in two ways: encoded bodies and repeated parameters."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

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


class PlainRequests:
    """Answers 415 for a body with a content coding, and 422 for a parameter that came twice."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = _find_problem(scope) if scope["type"] == "http" else None
        if problem is not None:
            await create_response(Request(scope), problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _find_problem(scope: Scope) -> Problem | None:
    coding = Headers(scope=scope).get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        named = coding if coding in _CODINGS else "one"
        return MediaTypeUnsupported(
            f"Expected a body without a content coding, got {named} in Content-Encoding. "
            "Send the body as it is."
        )
    return _find_repeated(scope["query_string"], _list_repeatable(scope["path"]))


def _list_repeatable(path: str) -> Collection[str]:
    return {name for end, names in _REPEATABLE if path.endswith(end) for name in names}


def _find_repeated(query: bytes, repeatable: Collection[str]) -> Problem | None:
    """Refuses a parameter that is taken once and comes twice; which counts, clients differ."""
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        return FieldUnknown(f"The address has more than {_MOST_PARAMETERS} parameters.")
    names = [name for name, _ in pairs if name not in repeatable]
    return FieldRepeated(_REPEATED) if len(set(names)) < len(names) else None


_REPEATED = "A parameter of the address came twice and is taken once; nothing was done."
