"""A page of GET /certifications."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from urllib.parse import urlencode

from redis import Redis

from app.server.access.caller import Caller
from app.server.answers.listing import (
    CertificationItem,
    CertificationPage,
    certification_item,
    with_outcomes,
)
from app.server.forms.listing import ListQuery, parse_cursor, write_cursor
from app.server.jobs.signed import is_as_signed
from worker.contract import CertificationJob
from worker.jobs.state import get_states
from worker.store.jobs import listing, records, results
from worker.store.jobs.listing import ListedJob

_LOOKED_AT = 2000  # entries per request, so that a rare filter never reads the whole list at once
_CHUNK = 100


def find_page(
    redis: Redis, caller: Caller, query: ListQuery, *, look_at: int = _LOOKED_AT
) -> CertificationPage:
    """A page of the certifications that the caller may see, and where the next page begins.

    Filters examine at most `look_at` certifications at a time. So a page can be shorter than its
    limit, or even empty, although there is a next one.
    """
    page = _find_page(redis, caller, query, look_at)
    ids = [item.id for item in page.certifications]
    found = [
        result if is_as_signed(redis, each, result) else None
        for each, result in zip(ids, results.find_results(redis, ids), strict=True)
    ]
    items = map(with_outcomes, page.certifications, found)
    return page.model_copy(update={"certifications": tuple(items)})


def _find_page(redis: Redis, caller: Caller, query: ListQuery, look_at: int) -> CertificationPage:
    walk, items, looked_at = _walk(redis, caller, query), list[CertificationItem](), 0
    size = min(_CHUNK, look_at)
    entry: ListedJob | None = None
    while looked_at < look_at:
        chunk = list(islice(walk, size))
        for entry, item in _read(redis, chunk, query):
            looked_at += 1
            if item is not None:
                items.append(item)
            if len(items) == query.limit:
                return _page(items, query, entry)
        if len(chunk) < size:
            return _page(items, query, None)
    return _page(items, query, entry)


def _read(
    redis: Redis, entries: Sequence[ListedJob], query: ListQuery
) -> Iterator[tuple[ListedJob, CertificationItem | None]]:
    """Each entry with its item, or None if the query does not match it."""
    jobs = records.find_jobs(redis, [entry.id for entry in entries])
    asked = [job for job in jobs if job is not None and _is_asked(job, query)]
    ids = [job.id for job in asked]
    states = dict(zip(ids, get_states(redis, ids), strict=True))
    for entry, job in zip(entries, jobs, strict=True):
        status = states.get(entry.id)
        if job is None or status is None or (query.status and status not in query.status):
            yield entry, None
        else:
            yield entry, certification_item(job, status)


def _is_asked(job: CertificationJob, query: ListQuery) -> bool:
    return (
        query.model in (None, job.request.model.id)
        and query.batch in (None, job.batch_id)
        and query.reference in (None, job.reference)
    )


def _page(
    items: Sequence[CertificationItem], query: ListQuery, after: ListedJob | None
) -> CertificationPage:
    if after is None:
        return CertificationPage(certifications=tuple(items), next=None)
    asked = query.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    parameters = urlencode({**asked, "cursor": write_cursor(after)}, doseq=True)
    return CertificationPage(certifications=tuple(items), next=f"/certifications?{parameters}")


def _walk(redis: Redis, caller: Caller, query: ListQuery) -> Iterator[ListedJob]:
    return listing.walk(
        redis,
        caller.view,
        after=None if query.cursor is None else parse_cursor(query.cursor),
        until_us=None if query.until is None else _microseconds(query.until),
        since_us=0 if query.since is None else _microseconds(query.since),
    )


def _microseconds(time: datetime) -> int:
    return max(0, int(time.timestamp() * 1_000_000))
