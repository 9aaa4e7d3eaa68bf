"""A certification as a stream of events: its state now, then each later state that is observed.

A state includes all earlier ones, so a client that reconnects has missed nothing: the first event
is the current state, unless the client already has it. No thread is held while nothing happens.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from functools import partial

import anyio
from anyio import to_thread
from fastapi.sse import ServerSentEvent

from app.server.answers.problems import QUEUE_AWAY, CertificationUnknown
from app.server.answers.schemas import (
    Certification,
    ProgressEvent,
    QueuedCertification,
    RunningCertification,
)
from app.server.jobs.lookup import find_progress, is_done, show, show_damaged
from app.server.jobs.services import Services
from worker.contract import CertificationJob
from worker.store.jobs import records
from worker.store.jobs.damaged import RecordDamaged

LOOK_S = 0.5
RETRY_MS = 2000


async def watch(
    services: Services, job: CertificationJob, last_event_id: str | None
) -> AsyncIterator[ServerSentEvent]:
    """The events of a certification until it ends, is purged, or the app stops.

    If the queue is away for a moment, the stream waits. One comment says so and carries the time
    after which the client should reconnect if the stream breaks too.
    """
    seen, away = last_event_id, False
    while not services.stopping.is_set():
        try:
            event = await _look(services, job)
        except QUEUE_AWAY:
            if not away:
                yield ServerSentEvent(comment="the queue does not answer", retry=RETRY_MS)
            away = True
        else:
            away = False
            if event.id != seen:
                yield event
            if event.event != "progress":
                return
            seen = event.id
        with anyio.move_on_after(LOOK_S):
            await services.stopping.wait()
    yield ServerSentEvent(comment="the service is stopping; reconnect", retry=RETRY_MS)


async def _look(services: Services, job: CertificationJob) -> ServerSentEvent:
    look = partial(create_event, services, job)
    return await to_thread.run_sync(look, limiter=services.watching)


def create_event(services: Services, job: CertificationJob) -> ServerSentEvent:
    """The event for a certification's current state."""
    try:
        if records.find_job(services.redis, job.id) is None:
            gone = CertificationUnknown()
            return _event("gone", json.dumps({"code": gone.code, "detail": gone.detail}))
        shown = show(services.redis, job)
    except RecordDamaged:
        shown = show_damaged(job)
    if is_done(shown):
        return _event("done", shown.model_dump_json())
    return _event("progress", _progress(services, job, shown).model_dump_json())


def _progress(services: Services, job: CertificationJob, shown: Certification) -> ProgressEvent:
    running = shown.progress if isinstance(shown, RunningCertification) else None
    progress = running or find_progress(services.redis, job)
    queued = shown if isinstance(shown, QueuedCertification) else None
    return ProgressEvent(
        status=shown.status,
        **progress.model_dump(),
        queue_position=queued and queued.queue_position,
        estimated_s=getattr(shown, "estimated_s", None),
    )


def _event(name: str, data: str) -> ServerSentEvent:
    """The id identifies the state, so that a client is not sent a state it has seen."""
    state = hashlib.sha256(f"{name} {data}".encode()).hexdigest()[:16]
    return ServerSentEvent(event=name, raw_data=data, id=state)
