"""What is asked, in which order, and when again: the same for `Client` and `AsyncClient`."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from httpx2 import Response

from app.client.answers import Certification
from app.client.calls import Call, Flow, Pause, submission
from app.client.errors import NotFinished, ServiceRefused, ServiceUnreachable

OnProgress = Callable[[Certification], None]
_BUSY = frozenset({409, 429, 503})
"""Repeated where the service says when: `Retry-After`."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 0.2, 2.0, 1.5


def ask(call: Call, *, patience_s: float) -> Flow[Response]:
    """The answer to a call, which is sent again while the service is busy or away.

    Raises:
        ServiceRefused: it answered with a problem, or was still busy after `patience_s`.
        ServiceUnreachable: it did not answer within `patience_s`.
    """
    waited, pause_s = 0.0, _FIRST_PAUSE_S
    while True:
        try:
            answer = yield call
            assert answer is not None, "a call is answered"
            if answer.status_code < 400:
                return answer
            again = _find_retry_after(answer)
            error: ServiceRefused | ServiceUnreachable = _read_problem(answer)
        except ServiceUnreachable as unreachable:
            again, error = pause_s, unreachable
            pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
        if again is None or waited + again > patience_s:
            raise error
        waited += again
        yield Pause(again)


def submit(image: bytes, fields: Mapping[str, Any], *, patience_s: float) -> Flow[Certification]:
    """The job that certifies an image."""
    answer = yield from ask(submission(image, fields), patience_s=patience_s)
    return Certification.parse(answer.content)


def find(certification_id: str, *, patience_s: float) -> Flow[Certification]:
    """A job as it stands now."""
    path = f"/certifications/{certification_id}"
    answer = yield from ask(Call(method="GET", path=path), patience_s=patience_s)
    return Certification.parse(answer.content)


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
    """Ends a job, or removes what is left of an ended one."""
    path = f"/certifications/{certification_id}"
    yield from ask(Call(method="DELETE", path=path), patience_s=patience_s)


def get_json(path: str, *, patience_s: float) -> Flow[dict[str, Any]]:
    """What a GET answers."""
    answer = yield from ask(Call(method="GET", path=path), patience_s=patience_s)
    found: dict[str, Any] = answer.json()
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
    report: dict[str, Any] = answer.json()
    return report


def _find_retry_after(answer: Response) -> float | None:
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
