"""Requests as values, and flows of them. Nothing here touches a network."""

import json
import os
import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from httpx2 import Response

from app.client.errors import FileUnreadable, ServiceUnreachable

T = TypeVar("T")
Image = bytes | str | os.PathLike[str]
"""An image: the bytes of its file, or the file's path."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. It is safe to repeat: it reads, it ends a job, or it has an idempotency key."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    files: tuple[tuple[str, tuple[str | None, bytes | str]], ...] = ()
    content: bytes | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `request` of httpx's clients, synchronous or not."""
        return {
            "headers": self.headers,
            "params": self.params,
            "data": self.data,
            "files": self.files or None,
            "content": self.content,
        }


@dataclass(frozen=True)
class Pause:
    """A pause in a flow, in seconds, and why the call before it is sent again, if it is."""

    seconds: float
    because: str = field(default="", compare=False)


Flow = Generator[Call | Pause, Response | None, T]
"""Yields calls and pauses, receives the answers, and returns the result."""
Answer = Response | ServiceUnreachable | None


def advance(flow: Flow[T], answer: Answer) -> Call | Pause:
    """The next step of the flow after this answer. StopIteration holds its result."""
    return flow.throw(answer) if isinstance(answer, ServiceUnreachable) else flow.send(answer)


def read_image(image: Image) -> bytes:
    """The bytes of an image file.

    Raises:
        FileUnreadable: it cannot be read.
    """
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise unreadable(Path(image), error) from None


def unreadable(path: Path, error: OSError) -> FileUnreadable:
    """The error for a file that cannot be read."""
    return FileUnreadable(f"{path} cannot be read: {error.strerror or 'a system error'}")


def submission(image: Image, fields: Mapping[str, Any], key: str | None = None) -> Call:
    """POST /certify for one image, under an idempotency key. The file's name is not sent."""
    return batch_submission([image], fields, key)


def batch_submission(
    images: Sequence[Image], fields: Mapping[str, Any], key: str | None = None
) -> Call:
    """POST /certify for several images, under this idempotency key or one of its own."""
    sent = [("image", read_image(image)) for image in images]
    form = create_form("/certify", sent, fields)
    return replace(form, headers={"Idempotency-Key": key or secrets.token_hex(16)})


def create_form(path: str, files: Sequence[tuple[str, bytes]], fields: Mapping[str, Any]) -> Call:
    """POST of a multipart form. Fields that are None are left out, and files have no names."""
    return Call(
        method="POST",
        path=path,
        data={name: _spell(name, v) for name, v in fields.items() if v is not None},
        files=tuple((name, (name, content)) for name, content in files),
    )


def create_fields(path: str, fields: Mapping[str, Any]) -> Call:
    """POST of a multipart form without files. Fields that are None are left out."""
    spelt = {name: _spell(name, value) for name, value in fields.items() if value is not None}
    pairs = (
        (name, one)
        for name, value in spelt.items()
        for one in (value if isinstance(value, list) else [value])
    )
    return Call(
        method="POST", path=path, files=tuple((name, (None, _as_text(one))) for name, one in pairs)
    )


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spell(name: str, value: Any) -> Any:
    """A field in form syntax: decimals in digits, label sets in JSON, a window with a comma.

    Names keep their letters, as those of other fields do: as escapes some are three times as long.
    """
    if name == "targets" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        spelt = [_spell("", one) for one in value]
        return ",".join(map(str, spelt)) if name == "window" else spelt
    return f"{value:f}" if isinstance(value, Decimal) else value
