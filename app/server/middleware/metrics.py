"""Measures how long answers take, by route template and never by the requested address."""

import os
import time
from importlib.metadata import version
from platform import python_version

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def create_registry() -> CollectorRegistry:
    """The figures that GET /metrics shows; those of all processes where several answer."""
    registry = CollectorRegistry()
    if _are_shared():
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    _describe_process(registry)
    return registry


def _are_shared() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def create_http_histogram(registry: CollectorRegistry) -> Histogram:
    """A histogram of the seconds from the first byte of a request to the last of its answer."""
    return Histogram(
        "promptsmooth_http_request_duration_seconds",
        "Seconds until an answer is complete, by method, route template and status.",
        ("method", "route", "status"),
        buckets=_BUCKETS,
        registry=None if _are_shared() else registry,  # the shared ones are collected from files
    )


def _describe_process(registry: CollectorRegistry) -> None:
    """Which release answers, and what the process that answers uses: memory, time, open files."""
    build = Info("promptsmooth_build", "Which release answers.", registry=registry)
    build.info({"version": version("promptsmooth-service"), "python": python_version()})
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)


class HttpMetrics:
    """Measures every answer. A request that matches no route is counted under `none`."""

    def __init__(self, app: ASGIApp, histogram: Histogram) -> None:
        self.app, self._histogram = app, histogram

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            labels = (method, _find_template(scope), str(status))
            self._histogram.labels(*labels).observe(time.perf_counter() - began)


def _find_template(scope: Scope) -> str:
    """The template of the route that answered. A mount counts as one route."""
    if (path := getattr(scope.get("route"), "path", None)) is not None:
        return str(path)
    return str(scope.get("root_path") or "none")
