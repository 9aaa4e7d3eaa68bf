"""The body of POST /certify, in each of its forms, as one kind of request.

A multipart form, a JSON document with base64, or an image file itself with the rest in the query.
All have the same names, limits and errors.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.request.certify import RULES as FIELD_RULES
from app.request.certify import CertifyFields
from app.request.refusal import check_not_empty
from app.server.answers.problems import (
    JsonUnreadable,
    MediaTypeUnsupported,
    invalid,
)
from app.server.forms.certify import NUMBERS, REPEATABLE, RULES, CertifyForm
from app.server.forms.items import check_items, media_type, require_known, require_no_query
from app.settings import AppSettings
from models.files.untrusted_text import WrittenNumber, parse_strict

Read = Callable[[], Awaitable[bytes]]
T = TypeVar("T", bound=BaseModel)
IMAGE_TYPES = (
    "application/dicom",
    "image/png",
    "image/jpeg",
    "image/tiff",
    "image/jp2",
    "image/webp",
    "application/octet-stream",  # what programs say that know no better
)
BODY_TYPES = ("multipart/form-data", "application/json", *IMAGE_TYPES)
_MAX_FIELDS = 512
_MAX_FIELD_BYTES = 256 * 1024  # 16 targets of 100 long class names in one JSON field


@dataclass(frozen=True, kw_only=True)
class CertifyBody:
    """What POST /certify was asked, whatever the body's type.

    `images` are read one by one, and each once: its bytes are kept for whoever reads it again.
    """

    fields: CertifyFields
    images: tuple[Read, ...]

    async def fingerprint(self) -> str:
        """Names the request by what it asks and the bytes of its files."""
        digests = [hashlib.sha256(await read()).hexdigest() for read in self.images]
        fields = self.fields.model_dump(mode="json", exclude={"image"})
        text = json.dumps([fields, digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


async def parse_body(request: Request, settings: AppSettings) -> CertifyBody:
    match media_type(request):
        case "multipart/form-data":
            return await _parse_form(request, settings)
        case "application/json":
            require_no_query(request)
            return await to_thread.run_sync(_parse_json, await request.body())
        case kind if kind in IMAGE_TYPES:
            return _parse_query(request, await request.body())
        case _:
            raise MediaTypeUnsupported(f"Expected a body of type {', '.join(BODY_TYPES)}.")


async def _parse_form(request: Request, settings: AppSettings) -> CertifyBody:
    require_no_query(request)
    data = await request.form(
        max_files=settings.max_images, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
    )
    check_items(data.multi_items(), RULES, REPEATABLE)
    form = _validate(CertifyForm, _collect(data.multi_items()))
    return CertifyBody(fields=form, images=tuple(map(_reader, form.image)))


def _parse_query(request: Request, body: bytes) -> CertifyBody:
    items = request.query_params.multi_items()
    check_items(items, FIELD_RULES, REPEATABLE)
    return CertifyBody(fields=_validate(CertifyFields, _collect(items)), images=(_held(body),))


def _parse_json(body: bytes) -> CertifyBody:
    try:
        document = parse_strict(body, as_written=True)
    except ValueError:
        raise JsonUnreadable from None
    if not isinstance(document, dict):
        raise JsonUnreadable
    require_known(document, RULES)
    images = _decode_images(document.pop("image", None))
    check_not_empty(document.items(), RULES)
    fields = {name: _as_field(name, v) for name, v in document.items() if v is not None}
    return CertifyBody(fields=_validate(CertifyFields, fields), images=tuple(map(_held, images)))


def _decode_images(value: object) -> list[bytes]:
    expected = "a JSON array of one or more image files in base64"
    if not isinstance(value, list) or not value:
        raise invalid("image", expected)
    try:
        return [base64.b64decode(_require_text(text), validate=True) for text in value]
    except (binascii.Error, ValueError, TypeError):
        raise invalid("image", expected) from None


def _require_text(value: object) -> str:
    if not isinstance(value, str) or isinstance(value, WrittenNumber):
        raise TypeError("no text")
    return value


def _as_field(name: str, value: object) -> object:
    """A value of the document as the form has it; a number keeps the digits that were written."""
    if name == "targets" and isinstance(value, list) and not _has_number(value):
        return json.dumps(value)
    wrong = (
        name == "targets"
        or isinstance(value, bool) != (name == "joint")
        or isinstance(value, list) != (name in REPEATABLE)
        or (name not in NUMBERS and _has_number(value))
    )
    if wrong:
        raise invalid(name, RULES[name])
    return value


def _has_number(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_number, value))
    return isinstance(value, WrittenNumber)


def _collect(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Names with their values, a list for those that may come several times."""
    return {
        name: [v for n, v in items if n == name] if name in REPEATABLE else value
        for name, value in items
    }


def _validate(kind: type[T], values: Mapping[str, object]) -> T:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from None


def _reader(file: UploadFile) -> Read:
    held: list[bytes] = []

    async def read() -> bytes:
        if not held:
            held.append(await file.read())
        return held[0]

    return read


def _held(data: bytes) -> Read:
    async def read() -> bytes:
        return data

    return read
