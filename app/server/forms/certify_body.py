"""The body of POST /certify, in each of its forms, as one kind of request.

A multipart form, a JSON document with base64, or an image file itself with the rest in the query.
All have the same names, limits and errors.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from anyio import to_thread
from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.request.certify import RULES as FIELD_RULES
from app.request.certify import CertifyFields
from app.request.refusal import FieldInvalid, check_not_empty
from app.server.answers.problems import (
    JsonUnreadable,
    MediaTypeUnsupported,
    invalid,
)
from app.server.forms.base64_texts import decode_text
from app.server.forms.certify import BOOLEANS, NUMBERS, REPEATABLE, RULES, CertifyForm
from app.server.forms.items import (
    check_items,
    collect,
    media_type,
    read_body,
    require_known,
    require_no_query,
)
from app.server.forms.multipart import MAX_TEXT_BYTES
from app.settings import AppSettings
from models.files.bounded_json import JsonBounds, TooManyTexts, TooMuchJson, cut_texts
from models.files.untrusted_text import WrittenNumber, parse_strict

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
_BOUNDS = JsonBounds()
_IMAGES = "a JSON array of one or more image files in base64"


class SentImage:
    """An image file that was sent, in memory or as a form's file; it is read once and kept."""

    def __init__(self, data: bytes | None, file: UploadFile | None = None) -> None:
        self._data, self._file = data, file

    async def read(self) -> bytes:
        if self._data is None:
            assert self._file is not None, "the request has ended"
            self._data = await self._file.read()
        return self._data

    def forget(self) -> None:
        """Drops the bytes, however long an error's traceback or a garbage cycle lives."""
        self._data = None


@dataclass(frozen=True, kw_only=True)
class CertifyBody:
    """What POST /certify was asked, whatever the body's type. `images` are read one by one."""

    fields: CertifyFields
    images: tuple[SentImage, ...]

    def forget(self) -> None:
        """Drops the bytes of all images."""
        for image in self.images:
            image.forget()

    async def fingerprint(self) -> str:
        """Names the request by what it asks and the bytes of its files."""
        digests = [hashlib.sha256(await image.read()).hexdigest() for image in self.images]
        fields = self.fields.model_dump(mode="json", exclude={"image"})
        text = json.dumps([fields, digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


async def parse_body(request: Request, settings: AppSettings) -> CertifyBody:
    match media_type(request):
        case "multipart/form-data":
            return await _parse_form(request, settings)
        case "application/json":
            require_no_query(request)
            parse = partial(_parse_json, await read_body(request), settings.max_images)
            return await to_thread.run_sync(parse)
        case kind if kind in IMAGE_TYPES:
            return _parse_query(request, bytes(await read_body(request)))
        case _:
            raise MediaTypeUnsupported(f"Expected a body of type {', '.join(BODY_TYPES)}.")


async def _parse_form(request: Request, settings: AppSettings) -> CertifyBody:
    require_no_query(request)
    data = await request.form(
        max_files=settings.max_images, max_fields=_MAX_FIELDS, max_part_size=MAX_TEXT_BYTES
    )
    check_items(data.multi_items(), RULES, REPEATABLE)
    form = validate(CertifyForm, collect(data.multi_items(), REPEATABLE))
    return CertifyBody(fields=form, images=tuple(SentImage(None, file) for file in form.image))


def _parse_query(request: Request, body: bytes) -> CertifyBody:
    items = request.query_params.multi_items()
    check_items(items, FIELD_RULES, REPEATABLE)
    return CertifyBody(
        fields=validate(CertifyFields, collect(items, REPEATABLE)), images=(SentImage(body),)
    )


def _parse_json(body: bytearray, most_images: int) -> CertifyBody:
    """Measures the document before it is parsed, the images taken out of it."""
    try:
        rest, texts = cut_texts(body, "image", _BOUNDS, most=most_images)
        document = parse_strict(rest, as_written=True)
    except TooManyTexts:
        raise FieldInvalid("image", f"at most {most_images} images") from None
    except TooMuchJson as error:
        raise JsonUnreadable(f"The JSON beside the images is too much: {error}.") from None
    except ValueError:
        raise JsonUnreadable from None
    if not isinstance(document, dict):
        raise JsonUnreadable
    require_known(document, RULES)
    images = _decode_images(document.pop("image", None), texts)
    check_not_empty(document.items(), RULES)
    fields = {name: read_member(name, v) for name, v in document.items() if v is not None}
    return CertifyBody(fields=validate(CertifyFields, fields), images=tuple(map(SentImage, images)))


def _decode_images(value: object, texts: tuple[memoryview, ...]) -> list[bytes]:
    """The image files; `texts` are those that were taken out of the list, which is every one."""
    try:
        if not isinstance(value, list) or not value or len(value) != len(texts):
            raise ValueError("not a list of texts, or its name has escapes")
        return [decode_text(text) for text in texts]
    except ValueError:
        raise FieldInvalid("image", _IMAGES) from None


def read_member(name: str, value: object) -> object:
    """A value of the document as the form has it; a number keeps the digits that were written."""
    if name == "targets" and isinstance(value, list) and not _has_number(value):
        return json.dumps(value, ensure_ascii=False)  # no longer than it came
    wrong = (
        name == "targets"
        or isinstance(value, bool) != (name in BOOLEANS)
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


def validate(kind: type[T], values: Mapping[str, object]) -> T:
    """The fields of these values. RequestValidationError names those that break their rules."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found = [{**each, "loc": ("body", *each["loc"])} for each in faults]
        raise RequestValidationError(found) from None
