"""The names and values of a form, or of an address's query, before anything is made of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from fastapi import Depends, Request

from app.request.refusal import check_not_empty
from app.server.answers.problems import (
    BodyTooLarge,
    FieldRepeated,
    FieldUnknown,
    MediaTypeUnsupported,
)


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_no_query(request: Request) -> None:
    """Refuses an address with a query where the body says everything."""
    if request.url.query:
        raise FieldUnknown("Nothing is taken from the query of the address; use the body's fields.")


async def read_body(request: Request, *, most: int | None = None) -> bytearray:
    """The whole body, which the request does not keep. It is never copied whole.

    Raises:
        BodyTooLarge: it has more than `most` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if most is not None and len(body) > most:
            raise BodyTooLarge(f"Expected a body of at most {most} bytes, got more.")
    return body


def collect(items: Sequence[tuple[str, Any]], repeatable: Collection[str]) -> dict[str, Any]:
    """Names with their values, a list for those that may come several times."""
    found: dict[str, Any] = {}
    for name, value in items:
        if name in repeatable:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def check_items(
    items: Collection[tuple[str, object]], rules: Mapping[str, str], repeatable: Collection[str]
) -> None:
    """Refuses unknown names, empty values, and a name twice that is taken once."""
    counts = Counter(name for name, _ in items)
    require_known(counts, rules)
    check_not_empty(items, rules)
    if repeated := sorted(n for n, count in counts.items() if n not in repeatable and count > 1):
        raise FieldRepeated(f"The field {repeated[0]} is taken once; nothing was queued.")


def require_known(names: Iterable[str], rules: Mapping[str, str]) -> None:
    """Refuses a name without a rule. It is not said back; the nearest of ours is."""
    for name in names:
        if name not in rules:
            near = get_close_matches(name[:64], rules, n=1)
            perhaps = f" Is {near[0]} meant?" if near else ""
            raise FieldUnknown(
                f"The request has a field that this service does not know.{perhaps} "
                f"Known: {', '.join(rules)}."
            )


def take_only(rules: Mapping[str, str], repeatable: Collection[str]) -> Any:
    """A dependency that refuses unknown and repeated fields, which a form would silently drop.

    Args:
        rules: what each field of the form must be.
        repeatable: the fields that may come several times.
    """

    async def check(request: Request) -> None:
        if media_type(request) != "multipart/form-data":
            raise MediaTypeUnsupported("Expected a body of type multipart/form-data.")
        require_no_query(request)
        check_items((await request.form()).multi_items(), rules, repeatable)

    return Depends(check)
