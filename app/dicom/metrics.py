"""What the node says to Prometheus: counts of its spool, and what it was sent since its start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily

from app.dicom.spool import Spool, State


class NodeMetrics:
    """Figures of one node.

    Args:
        spool: of its own, which is read when somebody asks.
        stored: counts C-STORE requests.
        associations: how many are open now.
    """

    def __init__(self, spool: Spool, stored: Counter, associations: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(stored)
        self.registry.register(_SpoolCollector(spool))
        build = Info("promptsmooth_node_build", "Which release runs.", registry=self.registry)
        build.info({"version": version("promptsmooth-service")})
        ProcessCollector(registry=self.registry)
        Gauge(
            "promptsmooth_node_associations", "Associations that are open.", registry=self.registry
        ).set_function(associations)

    @contextmanager
    def served(self, address: str, port: int) -> Iterator[int]:
        """Answers GET /metrics until the block ends; yields the port."""
        server, thread = start_http_server(port, address, self.registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def create_counter() -> Counter:
    """C-STORE requests by the status that they were answered with."""
    return Counter(
        "promptsmooth_node_stored",
        "C-STORE requests since the start, by the status of the answer.",
        ("status",),
        registry=None,
    )


class _SpoolCollector:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counted = self._spool.count_states()
        states = GaugeMetricFamily(
            "promptsmooth_node_tasks", "Images and series in the spool, by state.", labels=["state"]
        )
        for state in get_args(State):
            states.add_metric([state], counted.get(state, 0))
        yield states
        for name, said, value in (
            ("spool_bytes", "Bytes of the objects that are kept.", self._spool.count_bytes()),
            ("spool_max_bytes", "Most bytes of objects.", self._spool.most_bytes),
            ("oldest_seconds", "Age of what waits longest.", self._spool.find_oldest_age()),
        ):
            yield GaugeMetricFamily(f"promptsmooth_node_{name}", said, value)
