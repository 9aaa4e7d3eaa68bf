"""The HTTP app, assembled: `uvicorn --factory app.main:create_app`."""

import logging
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version
from operator import attrgetter
from typing import TypedDict

from anyio import CapacityLimiter, Event, create_task_group
from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from app.server.access.authentication import Authentication
from app.server.access.caller import EVERYONE
from app.server.access.keyring import Keyring
from app.server.access.live_requests import LiveRequests
from app.server.access.owned_records import KeysLost, OwnedRecords
from app.server.access.rate_limit import RateLimit
from app.server.access.routes import list_access
from app.server.access.sign_on.found import find_sign_on
from app.server.audit_log.outcomes import writing_outcomes
from app.server.audit_log.trail import (
    Audited,
    AuditTrail,
    DeletesAudited,
    create_trail,
    noting_heads,
)
from app.server.forms.multipart import MAX_TEXT_BYTES
from app.server.handlers import add_handlers
from app.server.jobs.capacity.queue_limit import QueueLimit
from app.server.jobs.evaluations.driver import EvaluationDriver
from app.server.jobs.evaluations.record import find_key_owner
from app.server.jobs.services import Services
from app.server.jobs.webhooks.webhooks import create_webhooks
from app.server.middleware.admission import Admission
from app.server.middleware.body_limits import BodyLimit, BodyTimeout, HeldBodies, OneLength
from app.server.middleware.cross_origin import (
    ANSWER_HEADERS,
    METHODS,
    REQUEST_HEADERS,
    CrossOrigin,
    CrossSite,
)
from app.server.middleware.methods import HeadAndOptions
from app.server.middleware.metrics import HttpMetrics, create_http_histogram, create_registry
from app.server.middleware.perimeter import Perimeter, is_loopback
from app.server.middleware.plain_requests import PlainRequests
from app.server.middleware.queue_metrics import QueueCollector
from app.server.middleware.request_context import RequestContext
from app.server.middleware.shutdown import noticing_signals
from app.server.openapi import TAGS, Service, on_wrong_method
from app.server.routes import audit, evaluations, models, prompt_jobs, prompts, webhooks
from app.server.routes.certifications import (
    certifications,
    certify,
    events,
    go_on,
    pictures,
    preview,
    reach,
    report,
    votes,
    witness,
)
from app.server.routes.service import capacity, health, metrics, pages, sign_on
from app.settings import AppSettings
from models.catalogue import load_catalogue, warn_of_cards
from models.files.parent_death import die_with_parent
from models.imaging import Decoder
from worker.prepare import create_decoder
from worker.processes.logs import configure_logging
from worker.processes.memory import return_large_blocks
from worker.store.connection import create_app_redis

_MAX_FIELDS = 512
_WATCHING_THREADS = 4  # threads that poll Redis for all event streams together
_THREADS = 16  # threads for everything else that waits for Redis or a disk
_DESCRIPTION = (
    "Certifies the robustness of medical vision-language models by randomized smoothing: an image "
    "and noise levels in, per noise level a class with a certified radius, or an abstention, out. "
    "**Research use only.** A certificate does not say that a class is the right diagnosis."
)


class State(TypedDict):
    """The state that a request carries."""

    services: Services


def create_app(settings: AppSettings | None = None, *, decoder: Decoder | None = None) -> FastAPI:
    """Creates the app. It connects to Redis only when a request needs it.

    Args:
        settings: default: from the environment.
        decoder: a shared decoder, which stays open. Default: the app's own.
    """
    settings = settings or AppSettings()
    app = Service(
        title="promptsmooth-service",
        version=version("promptsmooth-service"),
        description=_DESCRIPTION,
        contact={"name": "The promptsmooth-service authors"},
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        openapi_url=None,  # FastAPI's own route writes the document anew for each request
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=attrgetter("name"),
        redirect_slashes=False,  # would redirect with 307 to any name in the Host header
        lifespan=partial(_run, settings, decoder),
        form_limits={
            "max_files": settings.max_images,
            "max_fields": _MAX_FIELDS,
            "max_part_size": MAX_TEXT_BYTES,
        },
    )
    app.state.metrics = create_registry()
    add_handlers(app)
    app.add_exception_handler(405, on_wrong_method)
    app.router.routes.extend(_get_routes())
    trail = create_trail(settings)
    app.state.audit, app.state.live = trail, LiveRequests()
    app.state.sign_on = find_sign_on(settings.sign_on_file)
    _add_middleware(app, settings, trail)
    static = GZipMiddleware(pages.StaticPages(directory=pages.WEB), compresslevel=6)
    app.mount("/static", static, name="static")  # nothing here is secret
    return app


@cache
def _get_routes() -> tuple[BaseRoute, ...]:
    """The routes of all modules. Apps of one process share what FastAPI derives from them."""
    router = APIRouter(generate_unique_id_function=attrgetter("name"))
    for module in (
        certify,
        go_on,
        preview,
        reach,
        certifications,
        pictures,
        events,
        report,
        witness,
        audit,
        votes,
        models,
        prompts,
        prompt_jobs,
        evaluations,
        webhooks,
        health,
        capacity,
        metrics,
        sign_on,
        pages,
    ):
        router.include_router(module.router)
    return tuple(router.routes)


def create_process() -> FastAPI:
    """The app of one server process. One of several ends with the process that started it."""
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        die_with_parent(parent.pid)
        configure_logging()
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes sent bytes
    return_large_blocks()
    return create_app()


def _add_middleware(app: FastAPI, settings: AppSettings, trail: AuditTrail) -> None:
    """Adds middleware, innermost first. The caller is known before a byte of the body is read."""
    keyring = Keyring(settings.keys_file, sign_on=app.state.sign_on is not None)
    access = list_access(app.routes)
    app.state.access, app.state.keyring = access, keyring
    app.add_middleware(HeadAndOptions, access=access)
    app.add_middleware(PlainRequests, access=access)
    app.add_middleware(DeletesAudited, trail=trail, access=access)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(
        HeldBodies,
        max_bytes=max(settings.max_held_bytes, 2 * settings.max_body_bytes),
        max_at_work=settings.max_bodies_at_work,
    )
    app.add_middleware(
        BodyTimeout, idle_s=settings.body_idle_timeout_s, total_s=settings.body_timeout_s
    )
    app.add_middleware(RateLimit)
    app.add_middleware(
        Authentication,
        keyring=keyring,
        access=access,
        anonymous=replace(EVERYONE, quotas=settings.anonymous_quotas),
        live=app.state.live,
        sign_on=app.state.sign_on,
    )
    app.state.owned = OwnedRecords(keyring, partial(find_key_owner, settings.evaluations))
    app.add_middleware(KeysLost, owned=app.state.owned)
    app.add_middleware(CrossSite, allow_origins=settings.allowed_origins)
    app.add_middleware(Audited, trail=trail, access=access, reads=settings.audit_log_reads)
    app.add_middleware(
        Perimeter,
        keyring=keyring,
        trusted_hosts=settings.trusted_hosts,
        open_to_all=settings.open or is_loopback(settings.published_on),
    )
    if settings.allowed_origins:
        app.add_middleware(
            CrossOrigin,
            allow_origins=settings.allowed_origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
        )
    app.add_middleware(Admission, limit=settings.max_concurrent_requests)
    app.add_middleware(OneLength)
    app.add_middleware(RequestContext, behind_proxy=settings.behind_proxy)
    app.add_middleware(HttpMetrics, histogram=create_http_histogram(app.state.metrics))


@asynccontextmanager
async def _run(
    settings: AppSettings, decoder: Decoder | None, app: FastAPI
) -> AsyncIterator[State]:
    own = create_decoder(settings, processes=settings.decode_concurrency)
    if decoder is None:
        own.start()
    current_default_thread_limiter().total_tokens = _THREADS
    redis = create_app_redis(settings.redis_url.get_secret_value(), ca_file=settings.redis_ca)
    figures = QueueCollector(redis)
    registry: CollectorRegistry = app.state.metrics
    registry.register(figures)
    catalogue = load_catalogue(settings.models)
    warn_of_cards(catalogue)
    services = Services(
        settings=settings,
        catalogue=catalogue,
        redis=redis,
        queue_limit=QueueLimit(settings),
        decoding=CapacityLimiter(settings.decode_concurrency),
        auditing=CapacityLimiter(settings.decode_concurrency),
        decoder=decoder or own,
        watching=CapacityLimiter(_WATCHING_THREADS),
        stopping=Event(),
        audit=app.state.audit,
        keyring=app.state.keyring,
        webhooks=create_webhooks(settings, redis, app.state.audit),
    )
    try:
        with (
            noticing_signals(services.stopping),
            noting_heads(services.audit, redis),
            writing_outcomes(services.audit, redis),
        ):
            async with create_task_group() as group:
                group.start_soon(app.state.live.keep_checking)
                if app.state.sign_on is not None:
                    group.start_soon(app.state.sign_on.keep_fresh)
                group.start_soon(services.webhooks.deliverer.keep_delivering)
                if settings.evaluations is not None:
                    driver = EvaluationDriver(services, settings.evaluations)
                    group.start_soon(driver.keep_evaluating)
                yield {"services": services}
                group.cancel_scope.cancel()
    finally:
        registry.unregister(figures)
        own.close()
        redis.close()
