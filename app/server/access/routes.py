"""What each route asks of a key, read from the routes themselves."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path

from app.server.access.api_keys import Scope
from app.server.access.caller import Requires

PUBLIC = frozenset(
    {"/", "/healthz", "/readyz", "/version", "/docs", "/redoc", "/openapi.json", "/favicon.ico"}
)
"""What anybody may ask: that the service lives, what it is, and its pages, which hold no data."""
_PUBLIC_FOLDER = "/static/"


def is_public(path: str) -> bool:
    """Whether an address needs no key."""
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDER)


@dataclass(frozen=True, kw_only=True)
class Access:
    """One method of one address, and the scope it takes; None: it says nothing."""

    method: str
    path: str
    pattern: re.Pattern[str]
    scope: Scope | None
    name: str = ""

    @property
    def is_public(self) -> bool:
        """Whether it needs no key."""
        return is_public(self.path)


def list_access(routes: Sequence[BaseRoute]) -> tuple[Access, ...]:
    """Every method of every route, in the order in which they are looked at."""
    return tuple(_list(routes))


def find_route(access: Sequence[Access], method: str, path: str) -> Access | None:
    """The route that answers a request, or None."""
    asked = "GET" if method == "HEAD" else method
    fitting = (e for e in access if e.method == asked and e.pattern.fullmatch(path))
    return next(fitting, None)


def find_scope(access: Sequence[Access], method: str, path: str) -> Scope | None:
    """The scope that a request needs; None where no route answers it.

    A route that says nothing needs `admin`: what was forgotten is shut, not open.
    """
    route = find_route(access, method, path)
    return None if route is None else route.scope or "admin"


def _list(routes: Sequence[BaseRoute]) -> Iterator[Access]:
    for context in iter_route_contexts(routes):
        if context.path is None or context.methods is None:
            continue  # a folder of files: public, see `app.server.access.routes`
        pattern, *_ = compile_path(context.path)
        scope = _find_declared(getattr(context, "dependant", None))
        for method in sorted(context.methods - {"HEAD"}):
            name = str(context.name)
            yield Access(method=method, path=context.path, pattern=pattern, scope=scope, name=name)


def _find_declared(dependant: Dependant | None) -> Scope | None:
    if dependant is None:
        return None
    if isinstance(dependant.call, Requires):
        return dependant.call.scope
    return next(filter(None, map(_find_declared, dependant.dependencies)), None)
