"""The HTTP side, wired: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, TypedDict

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.access import list_access
from app.authentication import Authentication
from app.body_timeout import BodyTimeout
from app.deps import Services
from app.errors import KeyInvalid, KeyMissing, ScopeMissing, add_handlers, describe
from app.keyring import Keyring
from app.middleware import BodyLimit, RequestContext
from app.perimeter import Perimeter
from app.routes import (
    audit,
    certifications,
    certify,
    health,
    models,
    pages,
    preview,
    prompt_jobs,
    prompts,
    votes,
)
from app.schemas import ProblemDocument
from app.settings import AppSettings
from models.catalogue import load_catalogue
from worker.queueing import create_app_redis

_MAX_FIELDS = 512
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
        lifespan=lambda _: _run(settings),
        form_limits={
            "max_files": settings.max_images,
            "max_fields": _MAX_FIELDS,
            "max_part_size": _MAX_FIELD_BYTES,
        },
    )
    add_handlers(app)
    for module in (
        certify,
        preview,
        certifications,
        audit,
        votes,
        models,
        prompts,
        prompt_jobs,
        health,
        pages,
    ):
        app.include_router(module.router)
    _add_middleware(app, settings)
    app.mount("/static", StaticFiles(directory=pages.WEB), name="static")
    return app


def _add_middleware(app: FastAPI, settings: AppSettings) -> None:
    """From the innermost to the outermost: who asks is known before a byte of a body is read."""
    keyring = Keyring(settings.keys_file)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(
        BodyTimeout, idle_s=settings.body_idle_timeout_s, total_s=settings.body_timeout_s
    )
    app.add_middleware(Authentication, keyring=keyring, access=list_access(app.routes))
    app.add_middleware(
        Perimeter,
        keyring=keyring,
        trusted_hosts=settings.trusted_hosts,
        open_to_all=settings.open,
    )
    app.add_middleware(RequestContext)


@asynccontextmanager
async def _run(settings: AppSettings) -> AsyncIterator[State]:
    redis = create_app_redis(settings.redis_url.get_secret_value())
    services = Services(
        settings=settings,
        catalogue=load_catalogue(settings.models),
        redis=redis,
        decoding=CapacityLimiter(settings.decode_concurrency),
    )
    try:
        yield {"services": services}
    finally:
        redis.close()
