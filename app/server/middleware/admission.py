"""Limits how many requests are answered at a time."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.answers.problems import TooBusy, create_response
from app.server.middleware.perimeter import PROBES


class Admission:
    """Answers 503 while the limit is reached. Health probes are always answered.

    This bounds memory and file descriptors, whoever sends requests and however slowly.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app, self._limit, self._under_way = app, limit, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        if self._under_way >= self._limit:
            await create_response(Request(scope), TooBusy())(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way -= 1
