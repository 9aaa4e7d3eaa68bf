"""What tests of the HTTP interface ask at every address, and what a refusal must be."""

import re

from httpx2 import Response

from app.server.answers.problems import list_codes

MEDIA_TYPE = "application/problem+json"
SECRET = "DOE^JANE"
"""A name that stands in hostile input and must be in no answer."""


def fill_in(path: str) -> str:
    """The address of a route, with an id that nothing has for each of its parameters."""
    return re.sub(r"\{\w+\}", "0" * 32, path)


def require_problem(answer: Response, status: int, code: str) -> dict[str, object]:
    """Returns the problem of a refusal, which must be a documented one and repeat no secret."""
    document: dict[str, object] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code)
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    assert str(document["detail"]).endswith(".")
    assert (code, status) in set(list_codes())
    assert SECRET not in answer.text
    return document
