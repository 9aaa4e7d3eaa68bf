"""The base of every problem, and its RFC 9457 document."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from app.server.answers.schemas import ProblemDocument

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """The request could not be answered."""

    status: int
    code: str
    text: str
    retry_after_s: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        super().__init__(self.status, detail or self.text, {**retry, **(headers or {})})
        self.members = members

    def document(self, request_id: str) -> ProblemDocument:
        """The RFC 9457 document of this problem, with its own members."""
        return ProblemDocument(
            type="about:blank",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            request_id=request_id,
            **self.members,
        )
