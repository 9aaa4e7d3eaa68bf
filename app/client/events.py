"""Server-sent events: the lines of a stream as events (HTML Living Standard, 9.2.6)."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from app.client.errors import ClientError, ServiceRefused

_LAST = frozenset({"done", "gone"})
"""After such an event there is nothing more to come."""
_PASSING = frozenset({429, 502, 503, 504})
_PAUSE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One state of a certification, which replaces all states before it.

    Attributes:
        name: "progress", "done" (the document is the certification) or "gone" (it was purged).
        document: the parsed data; decimal numbers are `Decimal`.
        id: what a new connection begins after.
    """

    name: str
    document: dict[str, Any]
    id: str


class EventReader:
    """Collects lines until they make an event. Comments are skipped."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def read(self, line: str) -> Iterator[Event]:
        """The event that this line completes, if it does."""
        if line:
            name, _, value = line.partition(":")
            if name:
                self._fields[name] = self._join(name, value.removeprefix(" "))
            return
        fields, self._fields = self._fields, {}
        if "data" in fields:
            document = json.loads(fields["data"], parse_float=Decimal)
            name = fields.get("event", "message")
            yield Event(name=name, document=document, id=fields.get("id", ""))

    def _join(self, name: str, value: str) -> str:
        """Lines of data belong together."""
        before = self._fields.get("data")
        return f"{before}\n{value}" if name == "data" and before is not None else value


class Following:
    """A stream that is opened again where it was cut off. Nothing here touches a network."""

    def __init__(
        self,
        certification_id: str,
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = f"/certifications/{quote(certification_id, safe='')}/events"
        self.ended = False
        self._last, self._reader = "", EventReader()
        self._patience_s, self._clock, self._heard = patience_s, clock, clock()

    @property
    def headers(self) -> dict[str, str]:
        """Names the state that is already known."""
        return {"Last-Event-ID": self._last} if self._last else {}

    def read(self, line: str) -> Iterator[Event]:
        """The event that this line completes, if it does."""
        for event in self._reader.read(line):
            self._last, self._heard = event.id, self._clock()
            self.ended = event.name in _LAST
            yield event

    def lose(self, error: ClientError) -> float:
        """Seconds until the stream is opened again.

        Raises:
            ClientError: the error itself, if it is final or patience has ended.
        """
        final = isinstance(error, ServiceRefused) and error.status not in _PASSING
        if final or self._clock() - self._heard + _PAUSE_S > self._patience_s:
            raise error
        self._reader = EventReader()  # half an event is none
        return _PAUSE_S
