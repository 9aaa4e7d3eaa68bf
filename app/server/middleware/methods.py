"""HEAD and OPTIONS for every address, as RFC 9110 wants them (9.3.2 and 9.3.7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import CancelScope
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.access.routes import Access, list_methods

_OF_THE_SERVER = ("DELETE", "GET", "HEAD", "OPTIONS", "POST")


@dataclass(frozen=True)
class HeadAndOptions:
    """Answers HEAD as GET without its content, and OPTIONS with the methods of the address.

    It runs where the caller is known, so both need what GET or any other request there needs.
    """

    app: ASGIApp
    access: Sequence[Access]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "HEAD":
            await self._answer_head(scope, receive, send)
        elif method == "OPTIONS" and (methods := self._find_methods(scope["path"])):
            answer = Response(status_code=204, headers={"Allow": ", ".join(methods)})
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _find_methods(self, path: str) -> tuple[str, ...]:
        """The methods of an address, or those of the whole server for `*`."""
        return _OF_THE_SERVER if path == "*" else list_methods(self.access, path)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends with the headers, so a stream that would go on ends too."""
        as_get = {**scope, "method": "GET"}
        with CancelScope() as answering:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    answering.cancel()

            await self.app(as_get, receive, send_head)
        scope["route"] = as_get.get("route")  # metrics name the answer by it
