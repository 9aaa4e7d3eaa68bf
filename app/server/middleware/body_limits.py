"""Limits how long a client may take to send the body of a request."""

from dataclasses import dataclass

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.answers.problems import BodyTooSlow


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
