"""What becomes an entry of the audit log.

- Everything that is accepted, before it is: certifications, learning jobs, imports and every
  DELETE. Without the entry the action is refused (`AuditLogUnavailable`), unless the settings allow
  it.
- The outcome of every request that changes something, and of every request refused for its key.
- If the settings say so, every read.

An entry has ids, digests and numbers. Class names, prompt texts and the like are not written,
because they could hold anything; the digest of the request covers them.
"""

import re
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
from app.server.audit_log.strangers import StrangersLimit
from app.settings import AppSettings
from models.files.audit_log import AuditLog
from models.files.audit_log import AuditLogUnavailable as NotWritten
from models.files.audit_log import find_fault as find_log_fault
from models.log import get_logger
from worker.store import keyspace

_log = get_logger(__name__)

_SHOWN = re.compile(r"[a-z0-9._-]{1,64}")
_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
_STATE: ContextVar[dict[str, Any] | None] = ContextVar("request_state", default=None)


@dataclass(frozen=True)
class AuditTrail:
    """Writes entries about the current request.

    Args:
        log: the log; None: no log is kept.
        refuse: whether an action is refused when its entry cannot be written.
    """

    log: AuditLog | None
    refuse: bool = True

    def find_fault(self) -> str | None:
        """Why nothing could be accepted for lack of an entry, or None."""
        if self.log is None or not self.refuse:
            return None
        return find_log_fault(self.log.folder)

    def record(self, action: str, **fields: Any) -> None:
        """Writes an entry before its action takes place.

        Raises:
            AuditLogUnavailable: it could not be written, and the action must not take place.
        """
        if self.log is None:
            return
        state = _STATE.get() or {}
        caller: Caller | None = state.get("caller")
        common = {
            "request_id": state.get("request_id"),
            "key_id": None if caller is None else caller.key_id,
            **state.get("audited", {}),
        }
        try:
            self.log.record(action, **common, **fields)
        except NotWritten as error:
            _log.error(
                "audit_log_unavailable",
                errno=error.errno,
                do="make room on its disk, or let the app write there",
            )
            if self.refuse:
                raise AuditLogUnavailable from None


@contextmanager
def acting_for(caller: Caller, request_id: str | None, **fields: str) -> Iterator[None]:
    """Entries of the block name who asked for it, in an earlier request, and these fields."""
    token = _STATE.set({"caller": caller, "request_id": request_id, "audited": fields})
    try:
        yield
    finally:
        _STATE.reset(token)


def create_trail(settings: AppSettings) -> AuditTrail:
    """The trail that the settings describe."""
    folder, max_bytes = settings.audit_log, settings.audit_log_max_mb * 1_000_000
    log = None if folder is None else AuditLog(folder, max_bytes=max_bytes)
    return AuditTrail(log, refuse=settings.audit_log_on_failure == "refuse")


@contextmanager
def noting_heads(trail: AuditTrail, redis: Redis) -> Iterator[None]:
    """Notes each new head in Redis while the block runs, so that cut-off entries are noticed."""
    if trail.log is None:
        yield
        return
    trail.log.on_head = lambda head: redis.set(keyspace.audit_head(head.chain), str(head))
    try:
        yield
    finally:
        trail.log.on_head = None


class Audited:
    """Records the outcome of requests.

    Args:
        reads: whether reads are entries too.
    """

    def __init__(
        self, app: ASGIApp, *, trail: AuditTrail, access: Sequence[Access], reads: bool
    ) -> None:
        self.app, self.trail, self.access, self.reads = app, trail, access, reads
        self._strangers = StrangersLimit()

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
        """Records a finished request. A log that is unavailable now cannot undo it."""
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
            return  # already in the service's log


class DeletesAudited:
    """Records each DELETE before it takes place, or refuses it. Runs where the caller is known."""

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
    """The route, and the ids in its address if they are well formed."""
    route = find_route(access, method, path)
    if route is None:
        return {"method": method if method.isalpha() and len(method) <= 10 else "other"}
    found = route.pattern.fullmatch(path)
    ids: Mapping[str, str] = {} if found is None else found.groupdict()
    shown = {name: value for name, value in ids.items() if _SHOWN.fullmatch(value)}
    return {"method": method, "route": route.path, **shown}
