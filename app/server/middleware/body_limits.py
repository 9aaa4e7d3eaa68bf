"""Limits the length of a body, of all bodies at a time, and the time that a client may take."""

from collections import Counter
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.access.caller import EVERYONE, Caller
from app.server.answers.problems import (
    BodyTooLarge,
    BodyTooSlow,
    HttpInvalid,
    TooBusy,
    create_response,
)


@dataclass(frozen=True)
class BodyTimeout:
    """Ends a request whose body pauses too long, or takes too long in all.

    Args:
        idle_s: longest wait for the next bytes.
        total_s: longest time from the first read of the body to its end.
    """

    app: ASGIApp
    idle_s: float
    total_s: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole, ends_at = False, None

        async def receive_in_time() -> Message:
            nonlocal whole, ends_at
            if whole:  # now it waits for the client to disconnect, however long
                return await receive()
            now = anyio.current_time()
            ends_at = ends_at or now + self.total_s
            with anyio.move_on_after(min(ends_at - now, self.idle_s)):
                message = await receive()
                whole = message["type"] != "http.request" or not message.get("more_body", False)
                return message
            raise BodyTooSlow(headers={"Connection": "close"})

        await self.app(scope, receive_in_time, send)


class OneLength:
    """Refuses a request that declares its length in two ways, and closes its connection.

    A proxy that believed the other declaration would take the rest for somebody else's request (RFC
    9112, section 6.3).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "content-length" in headers and "transfer-encoding" in headers:
            problem = HttpInvalid(
                "Expected Content-Length or Transfer-Encoding, got both.",
                headers={"Connection": "close"},
            )
            await create_response(Request(scope), problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class BodyLimit:
    """Stops a body above the limit: before it is read if its length is declared, else while it is.

    FastAPI's own `max_body_size` answers a declared length in plain text, past every handler.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _declared(scope) > self.max_bytes:
            await create_response(Request(scope), self._problem())(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._problem()
            return message

        await self.app(scope, receive_limited, send)

    def _problem(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"Expected a request body of at most {self.max_bytes} bytes, got more. In base64, a "
            "file is a third longer than in a form or as the body itself."
        )


class HeldBodies:
    """Limits the bytes of all bodies that are held at a time: those of requests under way.

    Of one key half as many are held, so that others always find room. What a client has declared
    and not sent holds nothing.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app, self._max_bytes = app, max_bytes
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller: Caller = scope["state"].get("caller", EVERYONE)
        held = 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            held += size
            self._hold(caller.key_id, size)
            return message

        try:
            await self.app(scope, receive_counted, send)
        finally:
            self._held[caller.key_id] -= held

    def _hold(self, key_id: str, size: int) -> None:
        self._held[key_id] += size
        if self._held[key_id] > self._max_bytes // 2 or self._held.total() > self._max_bytes:
            raise TooBusy(
                "As many bytes of bodies are held as this service holds at a time; try again "
                "shortly.",
                headers={"Retry-After": "1", "Connection": "close"},
            )


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
