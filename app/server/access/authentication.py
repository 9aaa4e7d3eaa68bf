"""Checks key or token and scope before a byte of the body is read, and while a request goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.access.caller import STRANGER, Caller, require_scope
from app.server.access.keyring import Keyring
from app.server.access.live_requests import LiveRequests
from app.server.access.routes import Access, find_scope, is_public
from app.server.access.sign_on.refusals import IssuerAway, TokenRefused, looks_like_token
from app.server.answers.problems import (
    KeyInvalid,
    KeyMissing,
    Problem,
    SignOnUnavailable,
    TokenInvalid,
    create_response,
)

if TYPE_CHECKING:
    from app.server.access.sign_on.sign_on import SignOn

_REALM = 'Bearer realm="promptsmooth"'


@dataclass(frozen=True)
class Authentication:
    """Identifies the caller. Answers 401 without a valid key or token, 403 if it lacks the route's
    scope. A request whose key stops being valid ends, whatever it waits for.

    Every address needs a key except the public ones, including addresses that do not exist.
    """

    app: ASGIApp
    keyring: Keyring
    access: Sequence[Access]
    anonymous: Caller
    live: LiveRequests
    sign_on: "SignOn | None" = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if is_public(scope["path"]):
            scope["state"]["visitor"] = self._find_visitor(Headers(scope=scope))
            await self.app(scope, receive, send)
            return
        try:
            await self._prepare(Headers(scope=scope))
            scope["state"]["caller"] = self._admit(scope)
        except Problem as problem:
            await create_response(Request(scope), problem)(scope, receive, send)
            return
        started = whole = False

        async def send_noted(message: Message) -> None:
            nonlocal started, whole
            started = True
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with self.live.hold(partial(self._admit, scope)) as request:
            await self.app(scope, receive, send_noted)
        if request.ended_by is not None and not started:
            await create_response(Request(scope), request.ended_by)(scope, receive, send)
        elif (
            request.ended_by is not None and not whole
        ):  # a stream: it ends as one that the client may resume
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _prepare(self, headers: Headers) -> None:
        """Has keys of the issuer fetched that a token names; the checks themselves ask nobody."""
        tokens = find_tokens(headers)
        if self.sign_on is not None and len(tokens) == 1 and looks_like_token(tokens[0]):
            await self.sign_on.prepare(tokens[0])

    def _admit(self, scope: Scope) -> Caller:
        """The caller of a request, who may ask for it."""
        caller = self._find_caller(Headers(scope=scope))
        if needed := find_scope(self.access, scope["method"], scope["path"]):
            require_scope(caller, needed)
        return caller

    def _find_visitor(self, headers: Headers) -> Caller:
        """Who asks a public address. A key that does not hold there is none."""
        try:
            return self._find_caller(headers)
        except Problem:
            return STRANGER

    def _find_caller(self, headers: Headers) -> Caller:
        self.keyring.refresh()
        if not self.keyring.required:
            return self.anonymous
        tokens = find_tokens(headers)
        if not tokens:
            raise KeyMissing(headers={"WWW-Authenticate": _REALM})
        if self.sign_on is not None and len(tokens) == 1 and looks_like_token(tokens[0]):
            return _read_token(self.sign_on, tokens[0])
        key = self.keyring.find(tokens[0]) if len(tokens) == 1 else None
        if key is None:
            raise KeyInvalid(headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})
        return Caller(key.id, frozenset(key.scopes), key.quotas)


def _read_token(sign_on: "SignOn", token: str) -> Caller:
    try:
        return sign_on.find_caller(token)
    except IssuerAway:
        raise SignOnUnavailable from None
    except TokenRefused as error:
        raise TokenInvalid(
            f"The token was not accepted. {error}",
            headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
        ) from None


def find_tokens(headers: Headers) -> list[str]:
    """The distinct keys in a request. A request with more than one is not accepted."""
    found = [value.strip() for value in headers.getlist("x-api-key")]
    for value in headers.getlist("authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    return sorted({token for token in found if token})
