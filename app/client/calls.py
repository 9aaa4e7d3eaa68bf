"""Requests as values, and what a flow of them is; nothing here touches a network."""

import secrets
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from httpx2 import Response

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


def submission(image: bytes, fields: Mapping[str, Any]) -> Call:
    """POST /certify of one image. The name that the file had stays here."""
    return Call(
        method="POST",
        path="/certify",
        headers={"Idempotency-Key": secrets.token_hex(16)},
        data={name: value for name, value in fields.items() if value is not None},
        files=(("image", ("image", image)),),
    )
