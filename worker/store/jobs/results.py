"""Jobs, progress, vote counts and results in Redis, each with a time to live."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from redis import Redis
from redis.client import Pipeline

from worker.certification import Tally
from worker.contract import (
    QUEUE_NAME,
    CertificationJob,
    CertifyRequest,
    Contract,
    Identity,
    LiveVotes,
    Progress,
    RefusedImage,
)
from worker.contract.certificate.document import CertificationResult, FinishedResult
from worker.contract.request import canonical_bytes
from worker.store import keyspace
from worker.store.counters import count_result
from worker.store.jobs import listing
from worker.store.jobs.fence import Fence, Superseded

log = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseModel)

_RESULT: TypeAdapter[CertificationResult] = TypeAdapter(CertificationResult)
_REFUSED: TypeAdapter[tuple[RefusedImage, ...]] = TypeAdapter(tuple[RefusedImage, ...])
_PROGRESS_TTL_S = 24 * 3600


class RecordDamaged(ValueError):
    """What is stored of a certification cannot be read."""


def _say_damaged(certification_id: str, what: str, do: str) -> None:
    fields = {"certification_id": certification_id, "record": what, "do": do}
    log.error("record_damaged", extra={"fields": fields})


_TELL = "look at the disk and memory of Redis; the image has to be sent again"


def _parse_job(data: bytes | str, certification_id: str) -> CertificationJob:
    try:
        return CertificationJob.model_validate_json(data)
    except ValidationError:
        _say_damaged(certification_id, "job", _TELL)
        raise RecordDamaged(f"the job {certification_id} cannot be read") from None


def _parse_or_none(
    schema: type[T], data: bytes | str, certification_id: str, what: str
) -> T | None:
    """For what can be done without: it is said, and then as if it were not there."""
    try:
        return schema.model_validate_json(data)
    except ValidationError:
        _say_damaged(certification_id, what, "nothing: it is made anew")
        return None


def _text(entry: bytes | str) -> str:
    return entry.decode() if isinstance(entry, bytes) else entry


class StoredTally(Contract):
    """Votes of a complete prefix, as they are stored."""

    counts: tuple[int, ...]
    ambiguous: int

    @classmethod
    def of(cls, tally: Tally) -> "StoredTally":
        return cls(counts=tally.counts, ambiguous=tally.ambiguous)

    @property
    def tally(self) -> Tally:
        return Tally(counts=self.counts, ambiguous=self.ambiguous)


class Checkpoint(Contract):
    """Votes of a complete prefix of one phase at one noise level, with looks and tree, per target.

    Counts under another `roll` are votes on other noise (another request or key secret), counts of
    another identity are votes of another f; neither is continued.
    """

    roll: str
    identity: Identity
    prefixes: tuple[StoredTally, ...]
    looks: tuple[tuple[StoredTally, ...], ...]
    peaks: tuple[tuple[str, ...], ...]
    roots: tuple[str, ...]


def put_job(redis: "Redis | Pipeline", job: CertificationJob, *, ttl_s: int) -> None:
    """Stores a job, lists it, and has it hold its image."""
    redis.set(keyspace.job(job.id), job.model_dump_json(), ex=ttl_s)
    cost = f"{job.request.samples_total} {job.request.model.id}"
    redis.set(keyspace.cost(job.id), cost, ex=ttl_s)
    listing.put(redis, job, ttl_s=ttl_s)
    hold(redis, keyspace.image_holders(job.request.input.sha256), keyspace.job(job.id), ttl_s=ttl_s)
    if job.batch_id is not None:
        redis.rpush(keyspace.batch(job.batch_id), job.id)
        redis.expire(keyspace.batch(job.batch_id), ttl_s)


def hold(redis: "Redis | Pipeline", holders: str, job_key: str, *, ttl_s: int) -> None:
    """Says that a job needs what these are the holders of: purging another one leaves it."""
    redis.sadd(holders, job_key)
    redis.expire(holders, ttl_s)


def find_job(redis: Redis, certification_id: str) -> CertificationJob | None:
    """The job of a certification, or None.

    Raises:
        RecordDamaged: there is one, and it cannot be read.
    """
    data = redis.get(keyspace.job(certification_id))
    return None if data is None else _parse_job(data, certification_id)


def find_jobs(redis: Redis, certification_ids: Sequence[str]) -> list[CertificationJob | None]:
    """The jobs of several certifications, None for each that is not there or cannot be read."""
    if not certification_ids:
        return []
    stored = redis.mget([keyspace.job(each) for each in certification_ids])
    return [
        None if data is None else _parse_or_none(CertificationJob, data, each, "job in a list")
        for each, data in zip(certification_ids, stored, strict=True)
    ]


def find_batch(redis: Redis, batch_id: str) -> tuple[str, ...]:
    """The certification ids of a batch in the order of its images; empty when there is none."""
    return tuple(_text(entry) for entry in redis.lrange(keyspace.batch(batch_id), 0, -1))


def put_refused(
    redis: "Redis | Pipeline", batch_id: str, refused: Sequence[RefusedImage], *, ttl_s: int
) -> None:
    """Stores which images of a batch could not be used."""
    data = _REFUSED.dump_json(tuple(refused))
    redis.set(keyspace.batch_refused(batch_id), data, ex=ttl_s)


def find_refused(redis: Redis, batch_id: str) -> tuple[RefusedImage, ...]:
    """Which images of a batch could not be used."""
    data = redis.get(keyspace.batch_refused(batch_id))
    return () if data is None else _REFUSED.validate_json(data)


def find_result(redis: Redis, certification_id: str) -> CertificationResult | None:
    """The result of a certification, or None while there is none.

    Raises:
        RecordDamaged: there is one, and it cannot be read.
    """
    data = redis.get(keyspace.result(certification_id))
    return None if data is None else _parse_result(certification_id, data)


def _parse_result(certification_id: str, data: bytes | str) -> CertificationResult:
    try:
        return _RESULT.validate_json(data)
    except ValidationError:
        _say_damaged(certification_id, "result", _TELL)
        raise RecordDamaged(f"the result of {certification_id} cannot be read") from None


def has_result(redis: Redis, certification_id: str) -> bool:
    """Whether it has ended, without reading how."""
    return bool(redis.exists(keyspace.result(certification_id)))


def find_results(
    redis: Redis, certification_ids: Sequence[str]
) -> list[CertificationResult | None]:
    """The results of several certifications, None for each that there is not or that is damaged."""
    if not certification_ids:
        return []
    stored = redis.mget([keyspace.result(each) for each in certification_ids])
    return [_parse_if_whole(*each) for each in zip(certification_ids, stored, strict=True)]


def _parse_if_whole(certification_id: str, data: bytes | str | None) -> CertificationResult | None:
    try:
        return None if data is None else _parse_result(certification_id, data)
    except RecordDamaged:
        return None


_PUT_RESULT = """
if redis.call('EXISTS', KEYS[6]) == 1 then return 'cancelled' end
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'superseded' end
local stored = redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3], 'NX')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[4])
return stored and 'stored' or 'stands'
"""


def put_result(
    redis: Redis,
    certification_id: str,
    result: CertificationResult,
    *,
    ttl_s: int,
    fence: Fence | None = None,
) -> bool:
    """Stores a result once, and ends the job with it; whether this one stands.

    What stands there is never overwritten, and nothing is stored for a certification that was
    cancelled or purged (`cancelling`) by whoever still counted for it.

    Args:
        redis: where.
        certification_id: whose.
        result: how it ended.
        ttl_s: seconds it is kept.
        fence: of the run that made it; None for who ends a job from outside.

    Raises:
        Superseded: another run has begun since; nothing is stored.
    """
    keys = (
        keyspace.result(certification_id),
        keyspace.run(certification_id),
        keyspace.checkpoint(certification_id),
        keyspace.progress(certification_id),
        keyspace.accepted(QUEUE_NAME),
        keyspace.cancel(certification_id),
    )
    token = "" if fence is None else fence.token
    text = result.model_dump_json()
    done = _text(redis.eval(_PUT_RESULT, len(keys), *keys, token, text, ttl_s, certification_id))
    if done == "superseded":
        raise Superseded(f"another run of {certification_id} has begun")
    if done == "stored":
        count_result(redis, result)
    return done == "stored"


def note_lost_engine(redis: Redis, certification_id: str) -> None:
    """Counts an engine that ended while it counted for a certification."""
    key = keyspace.lost_engines(certification_id)
    redis.incr(key)
    redis.expire(key, _PROGRESS_TTL_S)


def count_lost_engines(redis: Redis, certification_id: str) -> int:
    """How many did."""
    return int(redis.get(keyspace.lost_engines(certification_id)) or 0)


def put_progress(
    redis: "Redis | Pipeline",
    certification_id: str,
    done: int,
    total: int,
    live: tuple[LiveVotes, ...] = (),
) -> None:
    """Says how far a running certification is."""
    progress = Progress(
        samples_done=done, samples_total=total, updated_at=datetime.now(UTC), live=live
    )
    redis.set(keyspace.progress(certification_id), progress.model_dump_json(), ex=_PROGRESS_TTL_S)


def find_progress(redis: Redis, certification_id: str) -> Progress | None:
    """How far a running certification is, or None when it has not begun or has ended."""
    data = redis.get(keyspace.progress(certification_id))
    if data is None:
        return None
    return _parse_or_none(Progress, data, certification_id, "progress")


def put_checkpoints(
    redis: "Redis | Pipeline",
    certification_id: str,
    checkpoints: Mapping[str, Checkpoint],
    *,
    ttl_s: int,
) -> None:
    """Stores vote counts so that a retry goes on from them."""
    key = keyspace.checkpoint(certification_id)
    redis.hset(key, mapping={name: c.model_dump_json() for name, c in checkpoints.items()})
    redis.expire(key, ttl_s)


def get_checkpoints(redis: Redis, certification_id: str) -> dict[str, Checkpoint]:
    """The stored vote counts by stream name; empty at a first start.

    Counts that cannot be read are left out: they are counted again, and are the same then.
    """
    stored = redis.hgetall(keyspace.checkpoint(certification_id))
    found = {
        _text(name): _parse_or_none(Checkpoint, data, certification_id, "checkpoint")
        for name, data in stored.items()
    }
    return {name: one for name, one in found.items() if one is not None}


def request_sha256(request: CertifyRequest, key_commitment: str) -> str:
    """Names a canonical request under one key secret: equal names, equal noise."""
    identity = {"request": request.identity(), "key_commitment": key_commitment}
    return hashlib.sha256(canonical_bytes(identity)).hexdigest()


_COUNT_ATTEMPT = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then
  number = redis.call('HLEN', KEYS[1]) + 1
  redis.call('HSET', KEYS[1], ARGV[1], number)
end
return tonumber(number)
"""


def count_attempt(redis: Redis, request: CertifyRequest, sha256: str) -> int:
    """Registers a roll for an image and says the how-manieth it is.

    Asking again for the same canonical request is no further roll and keeps its number. Attempts
    are kept for ever: one that expired would be a free roll.
    """
    number = redis.eval(_COUNT_ATTEMPT, 1, keyspace.attempts(request.input.sha256), sha256)
    return int(number)


def find_certificate(redis: Redis, sha256: str) -> FinishedResult | None:
    """The stored result of a canonical request, or None."""
    data = redis.get(keyspace.certificate(sha256))
    return None if data is None else FinishedResult.model_validate_json(data)


class DoubtsArose(RuntimeError):
    """Other hosts disagreed on votes of this request while it was counted; it is counted anew."""


_KEEP = """
if redis.call('SCARD', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX')
return 1
"""


def keep_certificate(
    redis: Redis, sha256: str, result: FinishedResult, *, ttl_s: int, doubts: int = 0
) -> FinishedResult:
    """Keeps the outcome of a canonical request, whatever it is, and returns the one that is kept.

    The first one stands: two jobs that counted the same request at a time answer alike.

    Args:
        redis, sha256: where, and the request's digest.
        result: what was counted.
        ttl_s: seconds it is kept.
        doubts: how many samples it takes for ambiguous because hosts disagreed on them.

    Raises:
        DoubtsArose: there are others that it does not know.
    """
    keys = (keyspace.certificate(sha256), keyspace.doubts(sha256))
    if not redis.eval(_KEEP, 2, *keys, result.model_dump_json(), ttl_s, doubts):
        raise DoubtsArose("votes of this request were contradicted; they are counted anew")
    return find_certificate(redis, sha256) or result
