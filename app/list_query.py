"""What GET /certifications is asked, and the cursor that goes from page to page."""

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from worker.listing import Entry

_CURSOR = re.compile(r"(\d{1,17})-([0-9a-f]{32})")
Status = Literal["queued", "running", "finished", "failed", "cancelled"]


def _check_cursor(text: str) -> str:
    parse_cursor(text)
    return text


class ListQuery(BaseModel):
    """Which certifications are asked for; without a filter all, newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: list[Status] = Field(
        default=[],
        max_length=5,
        description='one or more of "queued", "running", "finished", "failed" and "cancelled".',
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=64, description="the id of a model."
    )
    batch: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="the id of a batch."
    )
    since: AwareDatetime | None = Field(
        default=None, description="a time with its zone (RFC 3339). Sent then or later."
    )
    until: AwareDatetime | None = Field(
        default=None, description="a time with its zone (RFC 3339). Sent then or earlier."
    )
    limit: int = Field(
        default=50, ge=1, le=200, description="an integer from 1 to 200. Most of one page."
    )
    cursor: Annotated[str, AfterValidator(_check_cursor)] | None = Field(
        default=None,
        max_length=100,
        description="what an earlier page's `next` has. Says where to go on.",
    )


RULES = {
    name: (field.description or "").split(". ")[0].removesuffix(".")
    for name, field in ListQuery.model_fields.items()
}


def write_cursor(entry: Entry) -> str:
    """Where a page ended, for the next one."""
    return base64.urlsafe_b64encode(f"{entry.sent_us}-{entry.id}".encode()).decode().rstrip("=")


def parse_cursor(text: str) -> Entry:
    """The same back. ValueError where it is none."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("no cursor") from None
    if not (found := _CURSOR.fullmatch(plain.decode("ascii", "replace"))):
        raise ValueError("no cursor")
    return Entry(int(found[1]), found[2])
