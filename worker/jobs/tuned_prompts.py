"""Prompts tuned on an image, stored before the first vote is counted under them.

A retry must certify the prompt that the first attempt tuned, and holders of a certificate must be
able to fetch the prompt that it covers (CERTIFICATE 5).
"""

from collections.abc import Callable

from redis import Redis

from worker.contract import ANONYMOUS
from worker.contract.protocol import PromptsTuned
from worker.counting.records.tuned_files import create_tuned_cards
from worker.counting.roll import Roll
from worker.store import keyspace, prompts


class TunedStore:
    """The tuned prompts of one roll in Redis."""

    def __init__(self, redis: Redis, roll: Roll, ttl_s: int, *, owner: str = ANONYMOUS) -> None:
        self._redis, self._request, self._ttl_s, self._owner = redis, roll.request, ttl_s, owner
        self._key = keyspace.tuned(roll.sha256)

    def keep(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """The stored prompts, or those that `create` makes. Of two runs, the first one's stand."""
        tuned = self._find()
        if tuned is None:
            self._redis.set(self._key, create().model_dump_json(), nx=True, ex=self._ttl_s)
            tuned = self._find()
            assert tuned is not None, "it was just stored"
        self._put(tuned)
        return tuned

    def renew(self) -> None:
        """Renews the time to live of the prompts that a stored certificate names."""
        if (tuned := self._find()) is not None:
            self._redis.expire(self._key, self._ttl_s)
            self._put(tuned)

    def _put(self, tuned: PromptsTuned) -> None:
        for card, one in create_tuned_cards(self._request, tuned):
            prompts.put_adapted(
                self._redis,
                card,
                one.prompt.decode(),
                ttl_s=self._ttl_s,
                owner=self._owner,
                start=None if one.start is None else one.start.decode(),
            )

    def _find(self) -> PromptsTuned | None:
        data = self._redis.get(self._key)
        return None if data is None else PromptsTuned.model_validate_json(data)
