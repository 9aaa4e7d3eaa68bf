"""Answers that need not be sent twice: `ETag` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2)."""

import hashlib
import re
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

REVALIDATED = "private, no-cache"
"""The client may keep the answer but must revalidate it, so purged data is gone at once."""
NOT_KEPT = "no-store"
"""No cache keeps pictures of patients. A program that keeps one can revalidate it by its tag."""

_TAG = re.compile(r'(?:W/)?("[^"]*")')
IfNoneMatch = Annotated[
    str | None,
    Header(description="Tags that the client has: 304 if the answer is one of them."),
]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is what one of the tags in If-None-Match names"}
}


def answer_json(shown: BaseModel, if_none_match: str | None) -> Response:
    """A document with its tag, or 304 if the client has it."""
    return tagged(JSONResponse(shown.model_dump(mode="json")), if_none_match, cache=REVALIDATED)


def tagged(response: Response, if_none_match: str | None, *, cache: str) -> Response:
    """An answer with its tag, or 304 if the client has it."""
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": cache}
    if if_none_match is not None and _has(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _has(if_none_match: str, tag: str) -> bool:
    return if_none_match.strip() == "*" or tag in _TAG.findall(if_none_match)
