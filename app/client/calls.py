"""Requests as values, and what a flow of them is; nothing here touches a network."""

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
    """One request. It may be repeated: it reads, it ends, or it carries a key of its own."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    files: tuple[tuple[str, tuple[str, bytes]], ...] = ()
    content: bytes | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As `request` of both of httpx's clients takes them."""
        return {
            "headers": self.headers,
            "data": self.data,
            "files": self.files or None,
            "content": self.content,
        }


@dataclass(frozen=True)
class Pause:
    """Seconds in which nothing is asked."""

    seconds: float


Flow = Generator[Call | Pause, Response | None, T]
"""Yields calls and pauses, is sent the answers, returns what came of them."""
Answer = Response | ServiceUnreachable | None


def advance(flow: Flow[T], answer: Answer) -> Call | Pause:
    """The flow's next step after this answer. StopIteration holds what came of the flow."""
    return flow.throw(answer) if isinstance(answer, ServiceUnreachable) else flow.send(answer)


def submission(image: bytes, fields: Mapping[str, Any]) -> Call:
    """POST /certify of one image. The name that the file had stays here."""
    return Call(
        method="POST",
        path="/certify",
        headers={"Idempotency-Key": secrets.token_hex(16)},
        data={name: _spell(name, v) for name, v in fields.items() if v is not None},
        files=(("image", ("image", image)),),
    )


def _spell(name: str, value: Any) -> Any:
    """A field as a form has it: decimals in digits, label sets in JSON, a window with a comma."""
    if name == "targets" and not isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        spelt = [_spell("", one) for one in value]
        return ",".join(map(str, spelt)) if name == "window" else spelt
    return f"{value:f}" if isinstance(value, Decimal) else value
