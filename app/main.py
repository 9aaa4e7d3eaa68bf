"""The HTTP side, wired: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, TypedDict

from anyio import CapacityLimiter, Event
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from app.deps import Services
from app.errors import KeyInvalid, KeyMissing, ScopeMissing, add_handlers, describe
from app.http_metrics import HttpMetrics, create_http_histogram
from app.middleware import BodyLimit, RequestContext
from app.queue_metrics import QueueCollector
from app.routes import (
    audit,
    certifications,
    certify,
    events,
    health,
    metrics,
    models,
    pages,
    preview,
    prompt_jobs,
    prompts,
    votes,
)
from app.schemas import ProblemDocument
from app.settings import AppSettings
from app.stopping import noticing_signals
from models.catalogue import load_catalogue
from worker.queueing import create_app_redis

_MAX_FIELDS = 512
_WATCHING_THREADS = 4  # look at Redis for all event streams together, a moment each
_MAX_FIELD_BYTES = 256 * 1024  # 16 targets of 100 long class names in one JSON field
_DESCRIPTION = (
    "Certifies the robustness of medical vision-language models by randomized smoothing: an image "
    "and noise levels in, per noise level a class with a certified radius, or an abstention, out. "
    "**Research use only.** A certificate does not say that a class is the right diagnosis."
)


class State(TypedDict):
    """What a request finds in its state."""

    services: Services


class Service(FastAPI):
    """FastAPI, whose OpenAPI names the problem document and not FastAPI's own errors."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            _describe_problems(super().openapi())
        return super().openapi()


def _describe_problems(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), ProblemDocument=problem)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in (o for path in document["paths"].values() for o in path.values()):
        if "security" in operation:
            _add_responses(operation, describe(KeyMissing, KeyInvalid, ScopeMissing))
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]  # FastAPI's guess: no id here is ever unprocessable


def _add_responses(operation: dict[str, Any], responses: dict[int | str, dict[str, Any]]) -> None:
    for status, response in responses.items():
        operation["responses"].setdefault(str(status), response)


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """The app. Connects to nothing yet: Redis is asked when a request needs it."""
    settings = settings or AppSettings()
    app = Service(
        title="promptsmooth-service",
        version=version("promptsmooth-service"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=partial(_run, settings),
        form_limits={
            "max_files": settings.max_images,
            "max_fields": _MAX_FIELDS,
            "max_part_size": _MAX_FIELD_BYTES,
        },
    )
    app.state.metrics = CollectorRegistry()
    add_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, behind_proxy=settings.behind_proxy)
    app.add_middleware(HttpMetrics, histogram=create_http_histogram(app.state.metrics))
    for module in (
        certify,
        preview,
        certifications,
        events,
        audit,
        votes,
        models,
        prompts,
        prompt_jobs,
        health,
        metrics,
        pages,
    ):
        app.include_router(module.router)
    app.mount("/static", pages.create_static(), name="static")
    return app


@asynccontextmanager
async def _run(settings: AppSettings, app: FastAPI) -> AsyncIterator[State]:
    redis = create_app_redis(settings.redis_url.get_secret_value(), ca_file=settings.redis_ca)
    figures = QueueCollector(redis)
    registry: CollectorRegistry = app.state.metrics
    registry.register(figures)
    services = Services(
        settings=settings,
        catalogue=load_catalogue(settings.models),
        redis=redis,
        decoding=CapacityLimiter(settings.decode_concurrency),
        watching=CapacityLimiter(_WATCHING_THREADS),
        stopping=Event(),
    )
    try:
        with noticing_signals(services.stopping):
            yield {"services": services}
    finally:
        registry.unregister(figures)
        redis.close()
