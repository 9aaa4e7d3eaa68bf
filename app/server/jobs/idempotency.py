"""`Idempotency-Key`: a submission that is sent several times is queued once.

Follows draft-ietf-httpapi-idempotency-key-header. A key belongs to its caller. While a request is
answered, its key is claimed for a minute. The Redis transaction that queues the jobs also makes the
key lead to them, so neither a crash nor a second app can queue them twice.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from app.server.access.caller import Caller
from app.server.answers import problems
from app.server.jobs.lookup import find_visible_job
from worker.contract import CertificationJob, Contract
from worker.store import keyspace

_KEY = re.compile(r'"?([!#-\[\]-~]{1,255})"?')
_CLAIMED_S = 60
_CLAIM = """
local stored = redis.call('GET', KEYS[1])
if stored then return stored end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return false
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class _Use(Contract):
    """What a key is used for: a request, who answers it, and the jobs once they are queued."""

    fingerprint: str
    token: str
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClaimedKey:
    """A key that this request holds until it is answered."""

    key: str
    use: _Use

    def watch(self, pipeline: Pipeline) -> None:
        """Makes a transaction fail unless the key is still held.

        Raises:
            IdempotencyInProgress: it is not.
        """
        pipeline.watch(self.key)  # type: ignore[no-untyped-call]  # redis-py has not typed it
        data = pipeline.get(self.key)
        if data is None or _Use.model_validate_json(data) != self.use:
            raise problems.IdempotencyInProgress

    def keep(self, pipeline: Pipeline, jobs: Sequence[str], *, ttl_s: int) -> None:
        """Makes the key lead to these jobs, in the transaction that queues them."""
        used = self.use.model_copy(update={"jobs": tuple(jobs)})
        pipeline.set(self.key, used.model_dump_json(), ex=ttl_s)

    def release(self, redis: Redis) -> None:
        """Releases the key of a refused request, unless it already leads to jobs."""
        redis.eval(_RELEASE, 1, self.key, self.use.model_dump_json())


def parse_key(header: str) -> str:
    """The key in a header, quoted or not.

    Raises:
        Problem: the header holds no valid key.
    """
    if not (found := _KEY.fullmatch(header.strip())):
        raise problems.invalid(
            "Idempotency-Key", "1 to 255 visible ASCII characters, quoted or not"
        )
    return found[1]


def claim(
    redis: Redis, caller: Caller, key: str, fingerprint: str
) -> ClaimedKey | list[CertificationJob]:
    """Claims the key, or returns the jobs that it leads to.

    Raises:
        IdempotencyKeyReused: it was used for another request.
        IdempotencyInProgress: the same request is being answered.
        CertificationGone: the jobs were purged or have expired.
    """
    name = keyspace.idempotency(caller.key_id, hashlib.sha256(key.encode()).hexdigest())
    ours = ClaimedKey(key=name, use=_Use(fingerprint=fingerprint, token=secrets.token_hex(16)))
    stored = redis.eval(_CLAIM, 1, name, ours.use.model_dump_json(), _CLAIMED_S)
    if stored is None:
        return ours
    used = _Use.model_validate_json(stored)
    if used.fingerprint != fingerprint:
        raise problems.IdempotencyKeyReused
    if not used.jobs:
        raise problems.IdempotencyInProgress
    return _find_jobs(redis, caller, used.jobs)


def _find_jobs(redis: Redis, caller: Caller, ids: Sequence[str]) -> list[CertificationJob]:
    found = []
    for each in ids:
        try:
            found.append(find_visible_job(redis, each, caller))
        except problems.CertificationUnknown:
            continue  # purged from its batch
    if not found:
        raise problems.CertificationGone
    return found
