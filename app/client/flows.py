"""What is asked, in which order, and when again: the same for `Client` and `AsyncClient`."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from httpx2 import Response

from app.client.answers import Certification
from app.client.calls import Call, Flow, Pause, submission
from app.client.errors import NotFinished, ServiceRefused, ServiceUnreachable

OnProgress = Callable[[Certification], None]
_BUSY = frozenset({409, 429, 503})
"""Repeated where the service says when: `Retry-After`."""
_AWAY = frozenset({502, 504})
"""A proxy's answer where the service gave none."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 0.2, 2.0, 1.5
_CANCEL_ATTEMPTS = 3


def ask(
    call: Call,
    *,
    patience_s: float,
    once: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[Response]:
    """The answer to a call, which is sent again while the service is busy or away.

    Args:
        call: what is asked.
        patience_s: how long in all: pauses, and calls that got no answer.
        once: not to send it again where nobody knows whether it arrived.
        clock: seconds.

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
            error: ServiceRefused | ServiceUnreachable = _read_problem(answer)
            pause = None if once and answer.status_code in _AWAY else _find_pause(answer, again)
        except ServiceUnreachable as unreachable:
            waited += clock() - sent
            error, pause = unreachable, None if once else again
        if pause is None or waited + pause > patience_s:
            raise error
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
        waited += pause
        yield Pause(pause)


def submit(image: bytes, fields: Mapping[str, Any], *, patience_s: float) -> Flow[Certification]:
    """The job that certifies an image."""
    answer = yield from ask(submission(image, fields), patience_s=patience_s)
    return _read_certification(answer)


def find(certification_id: str, *, patience_s: float) -> Flow[Certification]:
    """A job as it stands now."""
    call = Call(method="GET", path=_path(certification_id))
    answer = yield from ask(call, patience_s=patience_s)
    return _read_certification(answer)


def wait(
    certification_id: str,
    *,
    timeout_s: float | None,
    on_progress: OnProgress | None,
    clock: Callable[[], float],
    patience_s: float,
) -> Flow[Certification]:
    """A job when it has ended: finished, failed or cancelled.

    Raises:
        NotFinished: it has not within `timeout_s`.
    """
    started, pause_s = clock(), _FIRST_PAUSE_S
    while True:
        found = yield from find(certification_id, patience_s=patience_s)
        if found.ended:
            return found
        if on_progress is not None:
            on_progress(found)
        if timeout_s is not None and clock() - started + pause_s > timeout_s:
            raise NotFinished(certification_id, timeout_s)
        yield Pause(pause_s)
        pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)


def cancel(certification_id: str, *, patience_s: float) -> Flow[None]:
    """Ends a job, or removes what is left of an ended one; never both.

    A second DELETE would remove what the first has ended. So where no answer came, the job is
    looked at before it is asked again: one that has ended is left as it is.
    """
    call = Call(method="DELETE", path=_path(certification_id))
    for attempt in range(_CANCEL_ATTEMPTS):
        try:
            yield from ask(call, patience_s=patience_s, once=True)
            return
        except ServiceUnreachable:
            if attempt == _CANCEL_ATTEMPTS - 1:
                raise
        if (yield from _has_ended(certification_id, patience_s=patience_s)):
            return


def _has_ended(certification_id: str, *, patience_s: float) -> Flow[bool]:
    try:
        found = yield from find(certification_id, patience_s=patience_s)
    except ServiceRefused as refused:
        if refused.status != 404:
            raise
        return True  # it was there before
    return found.ended


def get_json(path: str, *, patience_s: float) -> Flow[dict[str, Any]]:
    """What a GET answers."""
    answer = yield from ask(Call(method="GET", path=path), patience_s=patience_s)
    return _read_object(answer)


def find_signing_key(*, patience_s: float) -> Flow[str]:
    """The public key of the service's signatures."""
    answer = yield from ask(Call(method="GET", path="/keys/signing"), patience_s=patience_s)
    found = _read_object(answer).get("public_key")
    if not isinstance(found, str):
        raise _not_ours(answer)
    return found


def audit(content: bytes, *, patience_s: float) -> Flow[dict[str, Any]]:
    """The report of the service's own audit. `verify` needs no service and trusts none."""
    call = Call(
        method="POST",
        path="/audit",
        headers={"Content-Type": "application/json"},
        content=content,
    )
    answer = yield from ask(call, patience_s=patience_s)
    return _read_object(answer)


def _path(certification_id: str) -> str:
    return f"/certifications/{quote(certification_id, safe='')}"


def _read_certification(answer: Response) -> Certification:
    try:
        return Certification.parse(answer.content)
    except ValueError:
        raise _not_ours(answer) from None


def _read_object(answer: Response) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        raise _not_ours(answer) from None
    if not isinstance(found, dict):
        raise _not_ours(answer)
    return found


def _not_ours(answer: Response) -> ServiceRefused:
    """A page that somebody else answered: a proxy, a portal, another program at that address."""
    detail = "this is not what the service answers; look whether the address is the service's"
    return ServiceRefused(answer.status_code, "", detail, answer.headers.get("x-request-id", ""))


def _find_pause(answer: Response, pause_s: float) -> float | None:
    """Seconds after which the call is sent again; None where it is not."""
    if answer.status_code in _AWAY:
        return pause_s
    text = answer.headers.get("retry-after", "")
    return float(text) if answer.status_code in _BUSY and text.isdecimal() else None


def _read_problem(answer: Response) -> ServiceRefused:
    try:
        problem = json.loads(answer.content)
        code, detail = str(problem["code"]), str(problem["detail"])
        request_id = str(problem.get("request_id", ""))
        fields = "; ".join(f"{one['field']}: {one['detail']}" for one in problem.get("errors", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        code, detail, request_id, fields = "", "no problem document came with it", "", ""
    detail = f"{detail} {fields}".strip()
    return ServiceRefused(answer.status_code, code, detail, request_id)
