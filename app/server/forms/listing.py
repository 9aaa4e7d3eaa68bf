"""What GET /certifications is asked, and the cursor that goes from page to page."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from app.request.numbers import PLAIN_WHOLE
from app.request.reference import RULE as REFERENCE_RULE
from app.request.reference import Reference
from worker.contract import Contract
from worker.store.jobs.listing import ListedJob

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
Status = Literal["queued", "running", "finished", "failed", "cancelled"]


def _check_time(value: object) -> object:
    """Numbers are times to pydantic too, and mean seconds or milliseconds as they please."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("no RFC 3339 time")
    return value


def _to_utc(value: datetime) -> datetime:
    """The first and last day of the calendar have times that are in no year elsewhere."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("no time in UTC") from None


_Time = Annotated[AwareDatetime, BeforeValidator(_check_time), AfterValidator(_to_utc)]


RULES = {
    "status": 'one or more of "queued", "running", "finished", "failed" and "cancelled"',
    "model": "the id of a model",
    "batch": "the id of a batch",
    "reference": REFERENCE_RULE,
    "since": "a time with its zone (RFC 3339)",
    "until": "a time with its zone (RFC 3339)",
    "limit": "an integer from 1 to 200",
    "cursor": "what an earlier page's `next` has",
}


REPEATABLE = frozenset({"status"})


class ListQuery(Contract):
    """Which certifications are asked for; without a filter all, newest first."""

    status: list[Status] = Field(default=[], max_length=5, description=f"{RULES['status']}.")
    model: str | None = Field(
        default=None, min_length=1, max_length=64, description=f"{RULES['model']}."
    )
    batch: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description=f"{RULES['batch']}."
    )
    reference: Reference | None = Field(
        default=None, description=f"{RULES['reference']}. Exactly that reference."
    )
    since: _Time | None = Field(default=None, description=f"{RULES['since']}. Sent then or later.")
    until: _Time | None = Field(
        default=None, description=f"{RULES['until']}. Sent then or earlier."
    )
    limit: Annotated[int, Field(ge=1, le=200), PLAIN_WHOLE] = Field(
        default=50, description=f"{RULES['limit']}. Most of one page."
    )
    cursor: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,17}-[0-9a-f]{32}$",
        description=f"{RULES['cursor']}. Says where to go on.",
    )


def write_cursor(entry: ListedJob) -> str:
    """Where a page ended, for the next one."""
    return f"{entry.sent_us}-{entry.id}"


def parse_cursor(text: str) -> ListedJob:
    """The same back, of a text that has the pattern of one."""
    sent_us, _, certification_id = text.partition("-")
    return ListedJob(int(sent_us), certification_id)
