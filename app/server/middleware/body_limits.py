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
from app.server.middleware.backlog import Backlog


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


class HeldBody:
    """The bytes of one request's body, counted from when they came until they are let go.

    `at_work` counts the bodies that are whole and not let go. `backlog` is told of each one's end.
    """

    def __init__(
        self, held: Counter[str], at_work: set["HeldBody"], backlog: Backlog, key_id: str
    ) -> None:
        self._held, self._at_work, self._backlog = held, at_work, backlog
        self._key_id, self._size = key_id, 0
        self.is_whole = False

    @property
    def holds_something(self) -> bool:
        """Whether a byte of it came: an event stream or a list has none, and is no work here."""
        return self._size > 0

    def begin_work(self) -> None:
        """The body is whole, and what it asks for begins."""
        self.is_whole = True
        self._at_work.add(self)

    def add(self, size: int) -> None:
        self._size += size
        self._held[self._key_id] += size

    def let_go(self) -> None:
        """Counts them no longer: whoever calls it holds none of them."""
        self._held[self._key_id] -= self._size
        self._size = 0
        if self in self._at_work:
            self._at_work.remove(self)
            self._backlog.finish()


class HeldBodies:
    """Limits the bytes of all bodies that are held at a time: those of requests under way.

    Of one key half as many are held, so one key alone never takes all the room. All callers without
    a key count as one. What a client has declared and not sent holds nothing. A request that goes
    on without its body lets it go earlier: it is `held_body` of the request's state.

    Of whole bodies `max_at_work` are worked on at a time. Whoever comes later is told so at once
    instead of waiting behind all of them, with a time to come again that grows with the number of
    those refused. Who sends slowly takes nobody's turn.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_at_work: int) -> None:
        self.app, self._max_bytes, self._max_at_work = app, max_bytes, max_at_work
        self._held: Counter[str] = Counter()
        self._at_work: set[HeldBody] = set()
        self._backlog = Backlog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller: Caller = scope["state"].get("caller", EVERYONE)
        body = scope["state"]["held_body"] = HeldBody(
            self._held, self._at_work, self._backlog, caller.key_id
        )

        async def receive_counted() -> Message:
            message = await receive()
            body.add(len(message.get("body", b"")))
            self._check(caller.key_id)
            if body.holds_something and not (body.is_whole or message.get("more_body", False)):
                self._begin_work(body)
            return message

        try:
            await self.app(scope, receive_counted, send)
        finally:
            body.let_go()

    def _begin_work(self, body: HeldBody) -> None:
        if len(self._at_work) >= self._max_at_work:
            raise TooBusy(
                "As many requests are worked on as this service works on at a time; try again "
                "shortly.",
                headers={"Retry-After": str(self._backlog.refuse(len(self._at_work)))},
            )
        body.begin_work()

    def _check(self, key_id: str) -> None:
        if self._held[key_id] > self._max_bytes // 2 or self._held.total() > self._max_bytes:
            raise TooBusy(
                "As many bytes of bodies are held as this service holds at a time; try again "
                "shortly.",
                headers={
                    "Retry-After": str(self._backlog.refuse(len(self._at_work))),
                    "Connection": "close",
                },
            )


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
