"""The caller: who sends a request, and what they may do and see.

A caller is the key that came with the request, or `anonymous` when no keys are configured. Data of
another key is answered exactly as if it did not exist; a key with scope admin sees everything.

A route declares its scope by the type of its caller: `caller: Reader`, `Submitter`,
`Evaluator` or `Administrator`. A test finds every route that declares none.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.server.access.api_keys import SCOPES, Scope
from app.server.answers.problems import ScopeMissing
from app.settings import NO_BOUNDS, Quotas
from worker.contract import ANONYMOUS

# These only describe the two schemes in OpenAPI. `authentication` has already checked the key.
_BEARER = HTTPBearer(
    scheme_name="bearer", description="`Authorization: Bearer KEY`.", auto_error=False
)
_HEADER = APIKeyHeader(
    name="X-API-Key", scheme_name="api_key", description="`X-API-Key: KEY`.", auto_error=False
)


@dataclass(frozen=True)
class Caller:
    """Who sends the request: the id of a key, never the key itself."""

    key_id: str
    scopes: frozenset[str]
    quotas: Quotas = NO_BOUNDS

    def has(self, scope: Scope) -> bool:
        """Whether a route of this scope may be used. `admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def may_see(self, owner: str) -> bool:
        """Whether data that belongs to `owner` exists for this caller."""
        return owner == self.key_id or "admin" in self.scopes

    @property
    def view(self) -> str | None:
        """The owner whose data this caller sees besides shared data; None: the caller sees
        everything.
        """
        return None if "admin" in self.scopes else self.key_id


EVERYONE = Caller(ANONYMOUS, frozenset(SCOPES))
"""The caller when no keys are configured."""
STRANGER = Caller("stranger", frozenset())
"""Who asks a public address of a service that has keys, and has none."""


async def get_caller(request: Request) -> Caller:
    """The caller of this request."""
    caller: Caller = getattr(request.state, "caller", EVERYONE)
    return caller


async def get_visitor(request: Request) -> Caller:
    """Who asks a public address: the caller whose key came along, or a stranger."""
    visitor: Caller = getattr(request.state, "visitor", EVERYONE)
    return visitor


def require_scope(caller: Caller, scope: Scope) -> Caller:
    """Returns the caller if their key has the scope.

    Raises:
        ScopeMissing: it does not.
    """
    if not caller.has(scope):
        raise ScopeMissing(f"This needs a key with the scope {scope}.")
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
VisitorDep = Annotated[Caller, Depends(get_visitor)]


@dataclass(frozen=True)
class Requires:
    """A dependency that returns the caller if their key has the scope."""

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
Evaluator = Annotated[Caller, Depends(Requires("evaluate"))]
Administrator = Annotated[Caller, Depends(Requires("admin"))]
