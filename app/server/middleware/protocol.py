"""HTTP/1.1 with deadlines for slow clients.

uvicorn waits without limit for the headers of a request, and for the rest of a body that nobody
reads any more. So a client that sends a byte now and then could hold connections for as long as it
likes. A proxy would end that; here it ends without one. How long the body itself may take is
limited in `app.server.middleware.body_limits`.
"""

import asyncio
import secrets
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.server.answers.problems import MEDIA_TYPE, HeadersTooSlow, HttpInvalid, Problem

_REST_S = 5.0

Phase = Literal["head", "rest"] | None


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, with a deadline for headers and for bodies that were already answered."""

    _phase: Phase = None
    _deadline: asyncio.TimerHandle | None = None

    @property
    def header_timeout_s(self) -> float:
        """Seconds for a request's headers, as the app's settings say."""
        return float(self.app_state["services"].settings.header_timeout_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_deadline(None)
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Sets the deadline when a phase begins; bytes that arrive do not extend it."""
        if (phase := self._find_phase()) != self._phase:
            self._set_deadline(phase)

    def _find_phase(self) -> Phase:
        if self.transport.is_closing():
            return None
        if self.conn.their_state is h11.IDLE:
            begun = self.cycle is None or bool(self.conn.trailing_data[0])
            return "head" if begun else None  # between requests, uvicorn's keep-alive counts
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            return "rest"
        return None

    def _set_deadline(self, phase: Phase) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._phase, self._deadline = phase, None
        if phase is not None:
            delay_s = self.header_timeout_s if phase == "head" else _REST_S
            self._deadline = self.loop.call_later(delay_s, self._end, phase)

    def _end(self, phase: Phase) -> None:
        if self.transport.is_closing():
            return
        if phase == "head" and self.conn.trailing_data[0]:
            self._answer(HeadersTooSlow())
        self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the name is uvicorn's
        """Answers what is not HTTP with a problem document; uvicorn's own answer is plain text."""
        self._answer(HttpInvalid())
        self.transport.close()

    def _answer(self, problem: Problem) -> None:
        body = problem.document(secrets.token_hex(16)).model_dump_json(exclude_unset=True).encode()
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        for event in (
            h11.Response(status_code=problem.status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            if (sent := self.conn.send(event)) is not None:
                self.transport.write(sent)
