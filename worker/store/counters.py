"""How often things happened, counted in Redis by whoever sees them: what a work-horse knows."""

from typing import Literal, get_args

from redis import Redis
from redis.client import Pipeline

from worker.contract.certificate.document import CertificationResult, FinishedResult
from worker.store import keyspace
from worker.store.connection import as_text

Event = Literal["retried", "handed_back", "superseded", "recovered", "parked", "witness_alarm"]
EVENTS: tuple[Event, ...] = get_args(Event)

WebhookOutcome = Literal["delivered", "failed", "given_up"]
WEBHOOK_OUTCOMES: tuple[WebhookOutcome, ...] = ("delivered", "failed", "given_up")


def count_event(redis: "Redis | Pipeline", event: Event, by: int = 1) -> None:
    """Counts what happened to a job on its way."""
    redis.hincrby(keyspace.COUNTERS, f"event:{event}", by)


def count_result(redis: "Redis | Pipeline", result: CertificationResult) -> None:
    """Counts how a certification ended, and its certificates by outcome."""
    redis.hincrby(keyspace.COUNTERS, f"ended:{result.status}", 1)
    if isinstance(result, FinishedResult):
        for one in result.certificates:
            redis.hincrby(keyspace.COUNTERS, f"certificates:{one.outcome}", 1)


def count_webhook(redis: Redis, outcome: WebhookOutcome) -> None:
    """Counts an attempt to deliver a webhook: delivered, failed and tried again, or given up."""
    redis.hincrby(keyspace.COUNTERS, f"webhook:{outcome}", 1)


def get_counters(redis: Redis) -> dict[str, int]:
    """All counts, by `event:`, `ended:`, `certificates:` or `webhook:` and what was counted."""
    stored = redis.hgetall(keyspace.COUNTERS)
    return {as_text(name): int(number) for name, number in stored.items()}
