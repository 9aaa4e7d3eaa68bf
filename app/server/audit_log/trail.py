"""What becomes an entry of the audit log.

- What is accepted, before it is: certifications, learnings, imports and every DELETE. Without the
  entry it is not done (`AuditLogUnavailable`), unless the settings say to go on.
- What became of every request that changes something, and every one that was refused for its key.
- With the setting, every look at something.

An entry has ids, digests and numbers. Names of classes, prompts' texts and the like are covered by
the digest of the request and not written: nobody knows what is in them.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from redis import Redis
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.access.caller import Caller
from app.server.access.routes import Access, find_route, is_public
from app.server.answers.problems import AuditLogUnavailable, Problem, create_response
from app.server.audit_log.log import AuditLog
from app.server.audit_log.log import AuditLogUnavailable as NotWritten
from app.server.audit_log.log import find_fault as find_log_fault
from app.settings import AppSettings
from worker.store import keyspace

_log = logging.getLogger(__name__)

_SHOWN = re.compile(r"[a-z0-9._-]{1,64}")
_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
_STRANGERS_A_MINUTE = 60
_STATE: ContextVar[dict[str, Any] | None] = ContextVar("request_state", default=None)


@dataclass(frozen=True)
class AuditTrail:
    """Writes entries about the request at hand.

    Args:
        log: None: no log is kept.
        refuse: whether nothing is done that could not be written down.
    """

    log: AuditLog | None
    refuse: bool = True

    def find_fault(self) -> str | None:
        """Why nothing could be accepted for want of its entry; None when it could."""
        if self.log is None or not self.refuse:
            return None
        return find_log_fault(self.log.folder)

    def record(self, action: str, **fields: Any) -> None:
        """Writes an entry before what it speaks of is done.

        Raises:
            AuditLogUnavailable: it could not be written, and what it speaks of must not be done.
        """
        if self.log is None:
            return
        state = _STATE.get() or {}
        caller: Caller | None = state.get("caller")
        common = {
            "request_id": state.get("request_id"),
            "key_id": None if caller is None else caller.key_id,
        }
        try:
            self.log.record(action, **common, **fields)
        except NotWritten as error:
            fields = {
                "errno": error.errno,
                "do": "make room on its disk, or let the app write there",
            }
            _log.error("audit_log_unavailable", extra={"fields": fields})
            if self.refuse:
                raise AuditLogUnavailable from None


def create_trail(settings: AppSettings) -> AuditTrail:
    """The trail that the settings ask for."""
    folder, max_bytes = settings.audit_log, settings.audit_log_max_mb * 1_000_000
    log = None if folder is None else AuditLog(folder, max_bytes=max_bytes)
    return AuditTrail(log, refuse=settings.audit_log_on_failure == "refuse")


@contextmanager
def noting_heads(trail: AuditTrail, redis: Redis) -> Iterator[None]:
    """While this lasts, each new head is noted in Redis too: cut-off entries show against it."""
    if trail.log is None:
        yield
        return
    trail.log.on_head = lambda head: redis.set(keyspace.audit_head(head.chain), str(head))
    try:
        yield
    finally:
        trail.log.on_head = None


class Audited:
    """Writes down what became of requests, and that a DELETE was asked for before it is done.

    Args:
        reads: whether looks are entries too.
    """

    def __init__(
        self, app: ASGIApp, *, trail: AuditTrail, access: Sequence[Access], reads: bool
    ) -> None:
        self.app, self.trail, self.access, self.reads = app, trail, access, reads
        self._strangers = _Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.trail.log is None or is_public(scope["path"]):
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        token = _STATE.set(state)

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._record_end(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_recorded)
        finally:
            _STATE.reset(token)

    async def _record_end(self, scope: Scope, status: int) -> None:
        """What became of a request. It has happened: a log that is away now cannot undo it."""
        state, method = scope["state"], scope["method"]
        stranger, refused = status == 401, status in (403, 429)
        if method in _LOOKS and not (self.reads or stranger or refused):
            return
        left_out = self._strangers.count() if stranger else 0
        if left_out is None:
            return
        outcome = state.get("problem") or ("done" if status < 400 else "failed")
        fields = describe_request(self.access, method, scope["path"])
        if left_out:
            fields["left_out"] = left_out
        try:
            await to_thread.run_sync(
                lambda: self.trail.record("request", **fields, status=status, outcome=outcome)
            )
        except Problem:
            return  # it is in the service's log


class DeletesAudited:
    """Stands where the caller is known: a DELETE is written down, or not done."""

    def __init__(self, app: ASGIApp, *, trail: AuditTrail, access: Sequence[Access]) -> None:
        self.app, self.trail, self.access = app, trail, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            fields = describe_request(self.access, "DELETE", scope["path"])
            try:
                await to_thread.run_sync(lambda: self.trail.record("delete.asked", **fields))
            except Problem as problem:
                await create_response(Request(scope), problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def describe_request(access: Sequence[Access], method: str, path: str) -> dict[str, Any]:
    """The route and the ids in its address, where they are ids."""
    route = find_route(access, method, path)
    if route is None:
        return {"method": method if method.isalpha() and len(method) <= 10 else "other"}
    found = route.pattern.fullmatch(path)
    ids: Mapping[str, str] = {} if found is None else found.groupdict()
    shown = {name: value for name, value in ids.items() if _SHOWN.fullmatch(value)}
    return {"method": method, "route": route.path, **shown}


class _Strangers:
    """Requests without a valid key: so many a minute are entries, the others are counted.

    Else whoever has no key could fill the disk.
    """

    def __init__(self) -> None:
        self._minute, self._written, self._left_out = 0, 0, 0

    def count(self) -> int | None:
        """How many were left out before this one; None: it is left out itself."""
        if (minute := int(time.monotonic() // 60)) != self._minute:
            self._minute, self._written = minute, 0
        if self._written >= _STRANGERS_A_MINUTE:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
