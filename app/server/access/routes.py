"""The scope that each route needs, read from the routes themselves."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.routing import BaseRoute, compile_path

from app.server.access.api_keys import Scope
from app.server.access.caller import Requires

PUBLIC = frozenset(
    {
        *("/", "/healthz", "/readyz", "/version", "/docs", "/redoc", "/openapi.json"),
        *("/favicon.ico", "/sign-on"),
    }
)
"""What anybody may ask: that the service lives, what it is, where people sign in, and its pages,
which hold no data.
"""
_PUBLIC_FOLDER = "/static/"


def is_public(path: str) -> bool:
    """Whether an address needs no key."""
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDER)


@dataclass(frozen=True, kw_only=True)
class Access:
    """One method of one address and the scope it needs; None: the route declares none.

    `query` names the parameters that the route declares for the query of its address.
    """

    method: str
    path: str
    pattern: re.Pattern[str]
    scope: Scope | None
    name: str = ""
    query: frozenset[str] = frozenset()

    @property
    def is_public(self) -> bool:
        """Whether it needs no key."""
        return is_public(self.path)


def list_access(routes: Sequence[BaseRoute]) -> tuple[Access, ...]:
    """Every method of every route, in matching order."""
    return tuple(_list(routes))


def find_route(access: Sequence[Access], method: str, path: str) -> Access | None:
    """The route that answers a request, or None."""
    asked = "GET" if method == "HEAD" else method
    fitting = (e for e in access if e.method == asked and e.pattern.fullmatch(path))
    return next(fitting, None)


def list_methods(access: Sequence[Access], path: str) -> tuple[str, ...]:
    """The methods of an address, HEAD and OPTIONS among them; empty if nothing is there.

    Of several routes that match, those with the fewest parameters count.
    """
    if path.startswith(_PUBLIC_FOLDER):
        return "GET", "HEAD", "OPTIONS"
    fitting = [one for one in access if one.pattern.fullmatch(path)]
    fewest = min((one.path.count("{") for one in fitting), default=0)
    named = {one.method for one in fitting if one.path.count("{") == fewest}
    if "GET" in named:
        named.add("HEAD")
    return tuple(sorted({*named, "OPTIONS"})) if named else ()


def find_scope(access: Sequence[Access], method: str, path: str) -> Scope | None:
    """The scope that a request needs; None if no route answers it.

    A route that declares no scope needs `admin`, so a forgotten declaration never opens a route.
    """
    route = find_route(access, method, path)
    return None if route is None else route.scope or "admin"


def _list(routes: Sequence[BaseRoute]) -> Iterator[Access]:
    for context in iter_route_contexts(routes):
        if context.path is None or context.methods is None:
            continue  # a static folder, which is public
        pattern, *_ = compile_path(context.path)
        dependant = getattr(context, "dependant", None)
        scope, query = _find_declared(dependant), frozenset(_list_query(dependant))
        for method in sorted(context.methods - {"HEAD"}):
            name = str(context.name)
            yield Access(
                method=method,
                path=context.path,
                pattern=pattern,
                scope=scope,
                name=name,
                query=query,
            )


def _list_query(dependant: Dependant | None) -> Iterator[str]:
    """The names that a route and its dependencies take from the query."""
    if dependant is None:
        return
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from kind.model_fields
        else:
            yield field.alias
    for each in dependant.dependencies:
        yield from _list_query(each)


def _find_declared(dependant: Dependant | None) -> Scope | None:
    if dependant is None:
        return None
    if isinstance(dependant.call, Requires):
        return dependant.call.scope
    return next(filter(None, map(_find_declared, dependant.dependencies)), None)
