"""Who asks, and what they may do and see.

A caller is the key that came with the request, or `anonymous` where no keys are configured. What
belongs to another key is answered exactly as if it did not exist; scope admin sees everything.

A route says which scope it needs by whom it lets in: `caller: Reader`, `Submitter` or
`Administrator`. A test finds every route that says nothing.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.server.access.api_keys import SCOPES, Scope
from app.server.answers.problems import ScopeMissing
from app.settings import NO_BOUNDS, Quotas
from worker.contract import ANONYMOUS

# They only describe the two ways in OpenAPI: `authentication` checks keys before a body is read.
_BEARER = HTTPBearer(
    scheme_name="bearer", description="`Authorization: Bearer KEY`.", auto_error=False
)
_HEADER = APIKeyHeader(
    name="X-API-Key", scheme_name="api_key", description="`X-API-Key: KEY`.", auto_error=False
)


@dataclass(frozen=True)
class Caller:
    """Who asks: the id of a key, never the key."""

    key_id: str
    scopes: frozenset[str]
    quotas: Quotas = NO_BOUNDS

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to `owner` exists for this caller."""
        return owner == self.key_id or "admin" in self.scopes

    @property
    def view(self) -> str | None:
        """The owner whose things this caller sees beside the installation's; None: everyone's."""
        return None if "admin" in self.scopes else self.key_id


EVERYONE = Caller(ANONYMOUS, frozenset(SCOPES))
"""Who asks where no keys are configured."""


async def get_caller(request: Request) -> Caller:
    """Who asks."""
    caller: Caller = getattr(request.state, "caller", EVERYONE)
    return caller


def require_scope(caller: Caller, scope: Scope) -> Caller:
    """The caller, if their key has the scope."""
    if scope not in caller.scopes:
        raise ScopeMissing(f"This takes a key with the scope {scope}.")
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


@dataclass(frozen=True)
class Requires:
    """A dependency: who asks, if their key has the scope."""

    scope: Scope

    async def __call__(
        self,
        caller: CallerDep,
        _bearer: Annotated[Any, Security(_BEARER)],
        _header: Annotated[Any, Security(_HEADER)],
    ) -> Caller:
        return require_scope(caller, self.scope)


Reader = Annotated[Caller, Depends(Requires("read"))]
Submitter = Annotated[Caller, Depends(Requires("submit"))]
Administrator = Annotated[Caller, Depends(Requires("admin"))]
