"""The message of a webhook and its signature, as Standard Webhooks has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
Receivers check the signature with a package of that name, in whichever language they have.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from standardwebhooks import Webhook

from worker.store.jobs.callbacks import EndedCallback


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is delivered. The id is the same at every attempt, so receivers can tell repetitions."""

    id: str
    body: bytes


def create_message(callback: EndedCallback) -> Message:
    """The message about the end of a job: ids and its status, nothing of an image."""
    data = {"id": callback.job_id, "status": callback.status}
    if callback.batch_id is not None:
        data["batch_id"] = callback.batch_id
    return Message(
        id=f"msg_{callback.job_id}",
        body=_write(f"{callback.kind}.{callback.status}", callback.ended_at, data),
    )


def create_test_message(message_id: str, now: datetime) -> Message:
    """The message of a test delivery, about no certification."""
    return Message(id=message_id, body=_write("webhook.test", now, {}))


def create_headers(message: Message, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of one attempt, with a signature by each secret.

    Args:
        message: what is sent.
        secrets: all that are valid now, the newest first: while one replaces another, receivers may
            know either.
        now: the time of this attempt, in UTC.
    """
    return {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(
            Webhook(one).sign(message.id, now, message.body.decode()) for one in secrets
        ),
    }


def _write(kind: str, at: datetime, data: Mapping[str, str]) -> bytes:
    document = {"type": kind, "timestamp": at.isoformat(timespec="seconds"), "data": data}
    return json.dumps(document, separators=(",", ":")).encode()
