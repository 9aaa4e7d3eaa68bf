"""Requests as values, and flows of them. Nothing here touches a network."""

import json
import secrets
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from httpx2 import Response

from app.client.errors import ServiceUnreachable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. It is safe to repeat: it reads, it ends a job, or it has an idempotency key."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    files: tuple[tuple[str, tuple[str, bytes]], ...] = ()
    content: bytes | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `request` of httpx's clients, synchronous or not."""
        return {
            "headers": self.headers,
            "data": self.data,
            "files": self.files or None,
            "content": self.content,
        }


@dataclass(frozen=True)
class Pause:
    """A pause in a flow, in seconds."""

    seconds: float


Flow = Generator[Call | Pause, Response | None, T]
"""Yields calls and pauses, receives the answers, and returns the result."""
Answer = Response | ServiceUnreachable | None


def advance(flow: Flow[T], answer: Answer) -> Call | Pause:
    """The next step of the flow after this answer. StopIteration holds its result."""
    return flow.throw(answer) if isinstance(answer, ServiceUnreachable) else flow.send(answer)


def submission(image: bytes, fields: Mapping[str, Any]) -> Call:
    """POST /certify for one image. The file's name is not sent."""
    return Call(
        method="POST",
        path="/certify",
        headers={"Idempotency-Key": secrets.token_hex(16)},
        data={name: _spell(name, v) for name, v in fields.items() if v is not None},
        files=(("image", ("image", image)),),
    )


def _spell(name: str, value: Any) -> Any:
    """A field in form syntax: decimals in digits, label sets in JSON, a window with a comma."""
    if name == "targets" and not isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        spelt = [_spell("", one) for one in value]
        return ",".join(map(str, spelt)) if name == "window" else spelt
    return f"{value:f}" if isinstance(value, Decimal) else value
