"""Which calls are made, in which order, and when they are repeated, for both clients."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from httpx2 import Response

from app.client.answers import Certification
from app.client.calls import Call, Flow, Image, Pause, batch_submission, submission
from app.client.errors import NotFinished, ServiceRefused, ServiceUnreachable

T = TypeVar("T")
OnProgress = Callable[[Certification], None]
_BUSY = frozenset({409, 429, 503})
"""Repeated if the answer has a `Retry-After`."""
_AWAY = frozenset({502, 504})
"""A proxy's answers when the service gave none."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 0.2, 2.0, 1.5


def ask(
    call: Call,
    *,
    patience_s: float,
    once: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[Response]:
    """Sends a call, and sends it again while the service is busy or away.

    Args:
        call: the request.
        patience_s: the longest time to spend on pauses and unanswered calls in all.
        once: do not repeat the call if it may already have reached the service.
        clock: the current time in seconds.

    Raises:
        ServiceRefused: it answered with a problem, or was still busy after `patience_s`.
        ServiceUnreachable: it did not answer within `patience_s`.
    """
    waited, pause_s = 0.0, _FIRST_PAUSE_S
    while True:
        sent, again = clock(), pause_s
        try:
            answer = yield call
            assert answer is not None, "a call is answered"
            if answer.is_success:
                return answer
            error: ServiceRefused | ServiceUnreachable = read_problem(answer)
            pause = None if once and answer.status_code in _AWAY else _find_pause(answer, again)
        except ServiceUnreachable as unreachable:
            waited += clock() - sent
            error, pause = unreachable, None if once else again
        if pause is None or waited + pause > patience_s:
            raise error
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
        waited += pause
        yield Pause(pause, str(error))


def submit(
    image: Image, fields: Mapping[str, Any], *, patience_s: float, key: str | None = None
) -> Flow[Certification]:
    """Submits an image and returns its job; under one idempotency `key`, always the same."""
    answer = yield from ask(submission(image, fields, key), patience_s=patience_s)
    return _read_certification(answer)


def find(certification_id: str, *, patience_s: float) -> Flow[Certification]:
    """A job as it stands now."""
    call = Call(method="GET", path=_path(certification_id))
    answer = yield from ask(call, patience_s=patience_s)
    return _read_certification(answer)


def continue_certification(certification_id: str, *, patience_s: float) -> Flow[Certification]:
    """The certification that goes on from a finished one; asked again, the same one."""
    call = Call(method="POST", path=f"{_path(certification_id)}/continue")
    answer = yield from ask(call, patience_s=patience_s)
    return _read_certification(answer)


def find_witness(
    certification_id: str, *, ask_first: bool, patience_s: float
) -> Flow[dict[str, Any]]:
    """The witness of a certification as it stands; asked for first, if so wished."""
    path = f"{_path(certification_id)}/witness"
    call = Call(method="POST" if ask_first else "GET", path=path)
    answer = yield from ask(call, patience_s=patience_s)
    return read_object(answer)


def wait_for_witness(
    certification_id: str,
    *,
    timeout_s: float | None,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[dict[str, Any]]:
    """Asks for the witness of a certification and waits until it is there.

    Raises:
        NotFinished: it was not there within `timeout_s`.
    """
    look = partial(find_witness, certification_id, ask_first=False, patience_s=patience_s)

    def is_over(found: dict[str, Any]) -> bool:
        return found["status"] not in ("queued", "running")

    asked = yield from find_witness(certification_id, ask_first=True, patience_s=patience_s)
    if is_over(asked):
        return asked
    return (yield from _poll(look, is_over, certification_id, timeout_s, clock))


def wait(
    certification_id: str,
    *,
    timeout_s: float | None,
    on_progress: OnProgress | None,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[Certification]:
    """Waits until a job has ended: finished, failed or cancelled.

    Raises:
        NotFinished: it did not end within `timeout_s`.
    """

    def is_over(found: Certification) -> bool:
        if not found.ended and on_progress is not None:
            on_progress(found)
        return found.ended

    look = partial(find, certification_id, patience_s=patience_s)
    return (yield from _poll(look, is_over, certification_id, timeout_s, clock))


def wait_batch(
    batch_id: str,
    *,
    timeout_s: float | None,
    on_progress: Callable[[dict[str, Any]], None] | None,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[dict[str, Any]]:
    """Waits until all images of a batch have ended.

    Raises:
        NotFinished: they did not end within `timeout_s`.
    """
    call = Call(method="GET", path=f"/batches/{quote(batch_id, safe='')}")

    def look() -> Flow[dict[str, Any]]:
        answer = yield from ask(call, patience_s=patience_s)
        return read_object(answer)

    def is_over(found: dict[str, Any]) -> bool:
        if on_progress is not None:
            on_progress(found)
        return found.get("done") == found.get("total")

    return (yield from _poll(look, is_over, batch_id, timeout_s, clock))


def _poll(
    look: Callable[[], Flow[T]],
    is_over: Callable[[T], bool],
    name: str,
    timeout_s: float | None,
    clock: Callable[[], float],
) -> Flow[T]:
    """Looks, with longer and longer pauses, until it is over; returns what it saw last."""
    started, pause_s = clock(), _FIRST_PAUSE_S
    while True:
        found = yield from look()
        if is_over(found):
            return found
        if timeout_s is not None and clock() - started + pause_s > timeout_s:
            raise NotFinished(name, timeout_s)
        yield Pause(pause_s)
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)


def cancel(certification_id: str, *, patience_s: float) -> Flow[None]:
    """Ends a job that is queued or running. One that has ended stays, however often it is sent."""
    call = Call(method="DELETE", path=_path(certification_id), params={"only": "cancel"})
    yield from ask(call, patience_s=patience_s)


def submit_batch(
    images: Sequence[Image], fields: Mapping[str, Any], *, patience_s: float
) -> Flow[dict[str, Any]]:
    """Submits several images and returns their batch; one image is a certification."""
    answer = yield from ask(batch_submission(images, fields), patience_s=patience_s)
    return read_object(answer)


def find_signing_key(*, patience_s: float) -> Flow[str]:
    """The public key of the service's signatures."""
    answer = yield from ask(Call(method="GET", path="/keys/signing"), patience_s=patience_s)
    found = read_object(answer).get("public_key")
    if not isinstance(found, str):
        raise _not_ours(answer)
    return found


def audit(content: bytes, *, patience_s: float) -> Flow[dict[str, Any]]:
    """The service's own audit report. `verify` needs no service and trusts none."""
    call = Call(
        method="POST",
        path="/audit",
        headers={"Content-Type": "application/json"},
        content=content,
    )
    answer = yield from ask(call, patience_s=patience_s)
    return read_object(answer)


def _path(certification_id: str) -> str:
    return f"/certifications/{quote(certification_id, safe='')}"


def _read_certification(answer: Response) -> Certification:
    try:
        return Certification.parse(answer.content)
    except ValueError:
        raise _not_ours(answer) from None


def read_object(answer: Response) -> dict[str, Any]:
    """The answer's JSON object."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        raise _not_ours(answer) from None
    if not isinstance(found, dict):
        raise _not_ours(answer)
    return found


def _not_ours(answer: Response) -> ServiceRefused:
    """The error for an answer from something else: a proxy, a portal, another program."""
    detail = "this answer is not from the service; check the address"
    return ServiceRefused(answer.status_code, "", detail, answer.headers.get("x-request-id", ""))


def _find_pause(answer: Response, pause_s: float) -> float | None:
    """Seconds until the call is repeated; None if it is not repeated."""
    if answer.status_code in _AWAY:
        return pause_s
    text = answer.headers.get("retry-after", "")
    return float(text) if answer.status_code in _BUSY and text.isdecimal() else None


def read_problem(answer: Response) -> ServiceRefused:
    """The error that an answer describes."""
    try:
        problem = json.loads(answer.content)
        code, detail = str(problem["code"]), str(problem["detail"])
        request_id = str(problem.get("request_id", ""))
        fields = "; ".join(
            f"{one['field']}: {one['detail']}"
            for one in problem.get("errors", ())
            if f"{one['field']}: " not in detail
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        code, detail, request_id, fields = "", "the answer has no problem document", "", ""
    detail = f"{detail} {fields}".strip()
    return ServiceRefused(answer.status_code, code, detail, request_id)
