"""Limits the length of a body and the time that a client may take to send it."""

from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.answers.problems import BodyTooLarge, BodyTooSlow, HttpInvalid, create_response


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


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
