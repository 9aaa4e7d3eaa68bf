"""GET /metrics, for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.server.access.caller import Reader
from app.server.answers import problems

router = APIRouter(tags=["health"])


def _get_registry(request: Request) -> CollectorRegistry:
    registry: CollectorRegistry = request.app.state.metrics
    return registry


RegistryDep = Annotated[CollectorRegistry, Depends(_get_registry)]


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **problems.describe(),
        200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"},
    },
)
def get_metrics(registry: RegistryDep, _: Reader) -> Response:
    """Figures of the queue, the workers and this process; counts and times, nothing of a request.

    Without Redis it says so, `promptsmooth_redis_up 0`, and answers all the same. Where there are
    keys it takes one with the scope read.
    """
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
