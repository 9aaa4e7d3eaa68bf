"""Delivers webhooks that are due, and tries again for a day.

Redis holds what is due, so deliveries survive a restart of the app, of Redis, or of both. Several
apps may deliver beside one another. A receiver that does not answer delays its own webhooks only.
"""

import secrets
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from app.request.callback import parse_callback
from app.server.audit_log.outcomes import write_entry
from app.server.jobs.webhooks.key_webhooks import WebhookBook
from app.server.jobs.webhooks.message import (
    Message,
    create_headers,
    create_message,
    create_test_message,
)
from app.server.jobs.webhooks.sending import Attempt, Sender
from models.files.audit_log import AuditLog
from models.log import get_logger
from worker.store.counters import count_webhook
from worker.store.jobs import callbacks
from worker.store.jobs.callbacks import EndedCallback

log = get_logger(__name__)

PAUSES_S = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)
"""Seconds between attempts: eleven in 23.7 hours."""
_LOOK_S, _SOON_S = 0.5, 0.05
_LEASE_S = 60.0  # longer than an attempt may take
_AT_A_TIME = 4  # of one target
_NO_SECRET = Attempt(status=None, reason="the key has no webhook secret any more")


class Deliverer:
    """Delivers the webhooks of one Redis.

    Args:
        redis: the Redis of the service.
        book: addresses and secrets by key.
        sender: makes the attempts.
        audit_log: gets an entry for each webhook that was delivered or given up; None: no log.
        pauses_s: seconds between attempts.
    """

    def __init__(
        self,
        redis: Redis,
        book: WebhookBook,
        sender: Sender,
        audit_log: AuditLog | None,
        *,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._redis, self._book, self._sender, self._audit_log = redis, book, sender, audit_log
        self._pauses_s = pauses_s
        self._under_way: Counter[str] = Counter()

    async def keep_delivering(self) -> None:
        """Runs while the app does. If Redis is away, the next look finds the same webhooks."""
        async with anyio.create_task_group() as group:
            while True:
                more = False
                with suppress(RedisError):
                    more = await self._look(group)
                await anyio.sleep(_SOON_S if more else _LOOK_S)

    async def test(self, key_id: str, url: str) -> tuple[Message, Attempt]:
        """Makes one attempt with a message about nothing, now."""
        message = create_test_message(f"msg_test_{secrets.token_hex(12)}", datetime.now(UTC))
        return message, await self._attempt(key_id, url, message)

    async def _look(self, group: TaskGroup) -> bool:
        """Begins what may begin. Returns whether more may be due."""
        more = False
        for target in await to_thread.run_sync(callbacks.list_targets, self._redis):
            free = _AT_A_TIME - self._under_way[target]
            claim = partial(callbacks.claim_due, now=time.time(), lease_s=_LEASE_S, most=free)
            try:
                found = await to_thread.run_sync(claim, self._redis, target) if free else []
            except ResponseError as error:  # a damaged list holds up no other target
                log.error("webhooks_damaged", target=target, error=type(error).__name__)
                continue
            more = more or len(found) == free
            for callback in found:
                self._under_way[target] += 1
                group.start_soon(self._deliver, callback)
        return more

    async def _deliver(self, callback: EndedCallback) -> None:
        try:
            attempt = await self._attempt_whatever_happens(callback)
            await to_thread.run_sync(self._record, callback, attempt)
        except RedisError as error:  # its lease ends, and it is delivered again
            log.warning("webhooks_wait", error=type(error).__name__)
        except Exception as error:  # ends this attempt, and no other
            log.error("webhook_fault", error=type(error).__name__)
        finally:
            self._under_way[callback.target] -= 1

    async def _attempt_whatever_happens(self, callback: EndedCallback) -> Attempt:
        """An attempt. A fault of this program counts as one, so that it is not made for ever."""
        try:
            return await self._attempt(callback.owner, callback.url, create_message(callback))
        except Exception as error:
            log.error("webhook_fault", error=type(error).__name__)
            return Attempt(status=None, reason="the service could not make the attempt")

    async def _attempt(self, key_id: str, url: str, message: Message) -> Attempt:
        own, now = self._book.find(key_id), datetime.now(UTC)
        if own is None or not (valid := own.list_secrets(now)):
            return _NO_SECRET
        headers = create_headers(message, valid, now)
        return await self._sender.send(parse_callback(url), headers, message.body)

    def _record(self, callback: EndedCallback, attempt: Attempt) -> None:
        """Settles or postpones the webhook, and says so in the log, the metrics, the audit log."""
        said = {
            f"{callback.kind}_id": callback.job_id,
            "target": callback.target,
            "attempts": callback.attempts + 1,
            "status": attempt.status,
        }
        pause_s = self._find_pause(callback, attempt)
        if attempt.delivered:
            count_webhook(self._redis, "delivered")
            log.info("webhook_delivered", **said)
        else:
            count_webhook(self._redis, "failed" if pause_s is not None else "given_up")
            log.warning("webhook_failed", **said, reason=attempt.reason, again_in_s=pause_s)
        if pause_s is not None:
            callbacks.postpone(self._redis, callback, time.time() + pause_s)
            return
        if self._audit_log is not None:
            outcome = "delivered" if attempt.delivered else "given_up"
            write_entry(self._audit_log, f"webhook.{outcome}", {"key_id": callback.owner, **said})
        callbacks.settle(self._redis, callback.target, callback.name)

    def _find_pause(self, callback: EndedCallback, attempt: Attempt) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        if attempt.delivered or attempt.is_final or callback.attempts >= len(self._pauses_s):
            return None
        return self._pauses_s[callback.attempts]
