"""GET /metrics, for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app import errors
from app.security import Reader

router = APIRouter(tags=["health"])


def _get_registry(request: Request) -> CollectorRegistry:
    registry: CollectorRegistry = request.app.state.metrics
    return registry


RegistryDep = Annotated[CollectorRegistry, Depends(_get_registry)]


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **errors.describe(),
        200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"},
    },
)
def get_metrics(registry: RegistryDep, _: Reader) -> Response:
    """Figures of the queue, the workers and this process; counts and times, nothing of a request.

    Without Redis it says so, `promptsmooth_redis_up 0`, and answers all the same.
    """
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
