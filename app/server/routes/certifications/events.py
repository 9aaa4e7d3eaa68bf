"""GET /certifications/{id}/events: progress as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.server.answers import problems
from app.server.jobs.events import watch
from app.server.routes.dependencies import JobDep, ServicesDep

router = APIRouter(tags=["certifications"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=64,
        description="The id of the last event that was received; that state is not sent again.",
    ),
]


@router.get(
    "/certifications/{certification_id}/events",
    response_class=EventSourceResponse,
    responses={
        **problems.describe(
            problems.CertificationUnknown, problems.RequestInvalid, problems.QueueUnavailable
        ),
        200: {
            "description": "Events `progress`, each with a ProgressEvent as data, and at the end "
            "`done` with the certification as GET /certifications/{certification_id} answers it; "
            "`gone` if it is purged meanwhile. The bounds in `progress` claim nothing."
        },
    },
)
async def get_events(
    job: JobDep, services: ServicesDep, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """The state of a certification now, then every other state as it is seen, until it ends.

    A comment every 15 seconds keeps the connection. No key is taken from the address: read the
    stream with `fetch` where a key is needed.
    """
    async for event in watch(services, job, last_event_id):
        yield event
