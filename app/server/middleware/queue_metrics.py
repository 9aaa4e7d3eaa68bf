"""Metrics of Redis and the worker hosts, read at each Prometheus scrape."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from worker.contract import LEARNING_QUEUE_NAME, QUEUE_NAME, WorkerReport
from worker.jobs.priority import list_waiting
from worker.jobs.queue import create_queue
from worker.store import hosts as hosts_store
from worker.store.connection import find_write_fault
from worker.store.counters import EVENTS, WEBHOOK_OUTCOMES, get_counters
from worker.store.jobs import accepted, callbacks

_QUEUES = (QUEUE_NAME, LEARNING_QUEUE_NAME)
_ENDINGS = ("finished", "failed", "cancelled")
_OUTCOMES = ("certified", "abstained")
_STATES = ("starting", "ready", "draining", "drained", "broken")


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """One queue at one moment."""

    queued: int
    running: int
    oldest_s: float


class QueueCollector(Collector):
    """Gauges and counters of the whole service. If Redis is away, only the gauge that says so."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        """Called by the Prometheus client at each scrape."""
        try:
            families = list(self._collect())
        except RedisError:
            families = [_gauge("redis_up", "Whether Redis answers.", 0)]
        yield from families

    def _collect(self) -> Iterator[Metric]:
        yield from _describe_redis(self._redis)
        yield from _describe_queues({name: self._look(name) for name in _QUEUES})
        yield from _describe_counts(get_counters(self._redis))
        waiting = callbacks.count_due(self._redis)
        yield _gauge("webhooks_waiting", "Webhooks that are due or tried again later.", waiting)
        yield from _describe_hosts(hosts_store.list_workers(self._redis))

    def _look(self, name: str) -> QueueFigures:
        """Counts without RQ's clean-up, which only the janitor may do."""
        queue = create_queue(self._redis, name)
        oldest = accepted.find_oldest(self._redis, name)
        waiting = sum(map(len, list_waiting(self._redis, name).values()))
        return QueueFigures(
            queued=waiting + int(self._redis.llen(queue.intermediate_queue_key)),
            running=queue.started_job_registry.get_job_count(cleanup=False),
            oldest_s=0.0 if oldest is None else max(0.0, time.time() - oldest),
        )


def _describe_redis(redis: Redis) -> Iterator[Metric]:
    memory: dict[str, Any] = redis.info("memory")
    yield _gauge("redis_up", "Whether Redis answers.", 1)
    writable = int(find_write_fault(redis) is None)
    yield _gauge(
        "redis_writable", "Whether Redis takes writes: it has room, and its log.", writable
    )
    yield _gauge("redis_memory_bytes", "Memory that Redis uses.", memory["used_memory"])
    yield _gauge(
        "redis_memory_max_bytes", "Memory that Redis may use; 0: no bound.", memory["maxmemory"]
    )


def _describe_queues(queues: dict[str, QueueFigures]) -> Iterator[Metric]:
    jobs = _labelled("jobs", "Jobs by queue and state.", "queue", "state")
    oldest = _labelled(
        "oldest_job_age_seconds", "Age of the accepted job without a result.", "queue"
    )
    for name, found in queues.items():
        jobs.add_metric([name, "queued"], found.queued)
        jobs.add_metric([name, "running"], found.running)
        oldest.add_metric([name], found.oldest_s)
    yield jobs
    yield oldest


def _describe_counts(counts: dict[str, int]) -> Iterator[Metric]:
    for name, label, prefix, known, text in (
        ("jobs_ended", "status", "ended", _ENDINGS, "Certifications that ended, by status."),
        ("certificates", "outcome", "certificates", _OUTCOMES, "Certificates, by outcome."),
        ("job_events", "event", "event", EVENTS, "What happened to jobs on their way."),
        ("webhooks", "outcome", "webhook", WEBHOOK_OUTCOMES, "Attempts to deliver webhooks."),
    ):
        family = CounterMetricFamily(f"promptsmooth_{name}", text, labels=[label])
        found = {key.partition(":")[2]: n for key, n in counts.items() if key.startswith(prefix)}
        for one in sorted({*known, *found}):
            family.add_metric([one], found.get(one, 0))
        yield family


def _describe_hosts(reports: tuple[WorkerReport, ...]) -> Iterator[Metric]:
    hosts = _labelled("worker_hosts", "Worker hosts by state.", "state")
    for state in _STATES:
        hosts.add_metric([state], sum(report.shown_state == state for report in reports))
    yield hosts
    speed = _labelled(
        "worker_model_samples_per_second", "Speed of a model at warm-up.", "host", "model"
    )
    restarts = CounterMetricFamily(
        "promptsmooth_worker_restarts", "Processes started again.", labels=["host", "child"]
    )
    for report in reports:
        for model, samples_per_s in report.samples_per_s.items():
            speed.add_metric([report.name, model], samples_per_s)
        for child, number in report.restarts.items():
            restarts.add_metric([report.name, child], number)
    yield speed
    yield restarts
    yield from _describe_engines(reports)


def _describe_engines(reports: tuple[WorkerReport, ...]) -> Iterator[Metric]:
    counted = (
        ("samples", "Noisy copies counted since the engine started."),
        ("rows", "Rows that the batches of the engine had room for; samples / rows is their fill."),
        ("batches", "Batches since the engine started."),
        ("batch_seconds", "Seconds spent in them."),
    )
    families = {
        name: CounterMetricFamily(f"promptsmooth_worker_{name}", text, labels=["host"])
        for name, text in counted
    }
    memory = _labelled("worker_device_memory_bytes", "Memory the engine holds.", "host")
    for report in reports:
        if (figures := report.figures) is not None:
            families["samples"].add_metric([report.name], figures.samples)
            families["rows"].add_metric([report.name], figures.rows)
            families["batches"].add_metric([report.name], figures.batches)
            families["batch_seconds"].add_metric([report.name], figures.batch_s)
            memory.add_metric([report.name], figures.device_memory_bytes)
    yield from families.values()
    yield memory


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"promptsmooth_{name}", text, value=value)


def _labelled(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"promptsmooth_{name}", text, labels=list(labels))
