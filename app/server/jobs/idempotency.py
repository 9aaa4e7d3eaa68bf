"""`Idempotency-Key`: one submission, however often it is sent.

As draft-ietf-httpapi-idempotency-key-header has it. A key belongs to its caller. It is claimed for
a minute while a request is answered, and leads to the jobs from the very step of Redis on in which
they are queued, so neither a crash nor a second app in between makes two of one.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from app.server.access.caller import Caller
from app.server.answers.problems import (
    CertificationGone,
    CertificationUnknown,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    invalid,
)
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
class Claim:
    """A key that is ours until the request is answered."""

    key: str
    use: _Use

    def watch(self, pipeline: Pipeline) -> None:
        """Has a transaction fail unless the key is still ours. IdempotencyInProgress when not."""
        pipeline.watch(self.key)  # type: ignore[no-untyped-call]  # redis-py has not typed it
        data = pipeline.get(self.key)
        if data is None or _Use.model_validate_json(data) != self.use:
            raise IdempotencyInProgress

    def keep(self, pipeline: Pipeline, jobs: Sequence[str], *, ttl_s: int) -> None:
        """Has the key lead to these jobs, within the transaction that queues them."""
        used = self.use.model_copy(update={"jobs": tuple(jobs)})
        pipeline.set(self.key, used.model_dump_json(), ex=ttl_s)

    def release(self, redis: Redis) -> None:
        """Gives the key back, if it leads nowhere yet: the request was refused."""
        redis.eval(_RELEASE, 1, self.key, self.use.model_dump_json())


def parse_key(header: str) -> str:
    """The key in a header, quoted or not. Problem where it is none."""
    if not (found := _KEY.fullmatch(header.strip())):
        raise invalid("Idempotency-Key", "1 to 255 visible ASCII characters, quoted or not")
    return found[1]


def claim(
    redis: Redis, caller: Caller, key: str, fingerprint: str
) -> Claim | list[CertificationJob]:
    """The key, now ours, or the jobs that it leads to.

    Raises:
        IdempotencyKeyReused: it was used for another request.
        IdempotencyInProgress: the same request is being answered.
        CertificationGone: the jobs were purged, or have expired.
    """
    name = keyspace.idempotency(caller.key_id, hashlib.sha256(key.encode()).hexdigest())
    ours = Claim(key=name, use=_Use(fingerprint=fingerprint, token=secrets.token_hex(16)))
    stored = redis.eval(_CLAIM, 1, name, ours.use.model_dump_json(), _CLAIMED_S)
    if stored is None:
        return ours
    used = _Use.model_validate_json(stored)
    if used.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    if not used.jobs:
        raise IdempotencyInProgress
    return _find_jobs(redis, caller, used.jobs)


def _find_jobs(redis: Redis, caller: Caller, ids: Sequence[str]) -> list[CertificationJob]:
    found = []
    for each in ids:
        try:
            found.append(find_visible_job(redis, each, caller))
        except CertificationUnknown:
            continue  # of a batch, purged one by one
    if not found:
        raise CertificationGone
    return found
