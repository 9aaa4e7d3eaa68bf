"""Records that belong to keys, before a service that has lost its keys.

Without keys everyone who reaches the service sees everything. So a service without keys, as after a
restore that lacked them, answers nobody while something stored belongs to a key.
"""

from collections.abc import Callable
from dataclasses import dataclass

from anyio import to_thread
from redis import Redis
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.access.keyring import Keyring
from app.server.access.routes import is_public
from app.server.answers.problems import QUEUE_AWAY, KeysRequired, Problem, create_response
from worker.store.owners import find_key_owner

KEYS_LOST = (
    "What is stored belongs to keys, and this service has none: everyone would see it. Put the "
    "keys file back, which a backup holds as keys.toml, or create a key with: promptsmooth keys "
    "add --label NAME"
)


class OwnedRecords:
    """Tells whether records belong to keys that the service does not have.

    Args:
        keyring: the keys that it has.
        find_beside: finds a key that something stored elsewhere than in Redis belongs to.
    """

    def __init__(self, keyring: Keyring, find_beside: Callable[[], str | None]) -> None:
        self._keyring, self._find_beside = keyring, find_beside
        self._known_to_be_nobodys = False

    @property
    def may_be_shown(self) -> bool:
        """Whether this is known without a look into Redis."""
        return self._keyring.required or self._known_to_be_nobodys

    def find_fault(self, redis: Redis) -> str | None:
        """Why nobody may be answered, or None. Without keys no new record belongs to one."""
        if not self.may_be_shown:
            if find_key_owner(redis) is not None or self._find_beside() is not None:
                return KEYS_LOST
            self._known_to_be_nobodys = True
        return None


@dataclass(frozen=True)
class KeysLost:
    """Answers 403 to everything but the public addresses while records lack their keys."""

    app: ASGIApp
    owned: OwnedRecords

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.owned.may_be_shown and not is_public(scope["path"]):
            redis: Redis = scope["state"]["services"].redis
            if (problem := await to_thread.run_sync(self._find_problem, redis)) is not None:
                await create_response(Request(scope), problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _find_problem(self, redis: Redis) -> Problem | None:
        try:
            fault = self.owned.find_fault(redis)
        except QUEUE_AWAY:
            return None  # nothing is shown without Redis either; the next request looks again
        return None if fault is None else KeysRequired(f"{fault}.")
