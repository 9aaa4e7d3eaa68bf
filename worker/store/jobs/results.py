"""The results of certifications, each with a time to live. A result is written once."""

import time
from collections.abc import Sequence
from functools import partial

from pydantic import TypeAdapter
from redis import Redis

from worker.contract import QUEUE_NAME
from worker.contract.certificate.document import CertificationResult
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.counters import count_result
from worker.store.jobs.callbacks import END_CALLBACK
from worker.store.jobs.damaged import RecordDamaged, parse_record, read_all, read_record
from worker.store.jobs.fence import Fence, Superseded

_RESULT: TypeAdapter[CertificationResult] = TypeAdapter(CertificationResult)


def find_result(redis: Redis, certification_id: str) -> CertificationResult | None:
    """The result of a certification, or None while there is none.

    Raises:
        RecordDamaged: the stored result cannot be read.
    """
    read = partial(redis.get, keyspace.result(certification_id))
    return _parse(certification_id, read_record(read, certification_id, "result"))


def _parse(certification_id: str, data: bytes | str | None) -> CertificationResult | None:
    if data is None:
        return None
    return parse_record(_RESULT.validate_json, data, certification_id, "result")


def has_result(redis: Redis, certification_id: str) -> bool:
    """Whether a certification has a result. Does not read it."""
    return bool(redis.exists(keyspace.result(certification_id)))


def find_results(
    redis: Redis, certification_ids: Sequence[str]
) -> list[CertificationResult | None]:
    """The results of several certifications; None for each that is missing or damaged."""
    if not certification_ids:
        return []
    keys = [keyspace.result(each) for each in certification_ids]
    stored = read_all(redis, keys, certification_ids, "result in a list")
    return [_parse_if_whole(*each) for each in zip(certification_ids, stored, strict=True)]


def _parse_if_whole(certification_id: str, data: bytes | str | None) -> CertificationResult | None:
    try:
        return _parse(certification_id, data)
    except RecordDamaged:
        return None


_PUT_RESULT = f"""{END_CALLBACK}
if redis.call('EXISTS', KEYS[6]) == 1 then return 'cancelled' end
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'superseded' end
local stored = redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3], 'NX')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[4])
if stored then end_callback(KEYS[7], KEYS[8], ARGV[5], ARGV[4], ARGV[6], ARGV[7]) end
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
    """Stores a result once, which ends the job. Returns whether this result was stored.

    A stored result is never overwritten. With it the job's webhook is due. Nothing is stored for a
    certification that was cancelled or purged while a run still counted for it.

    Args:
        redis: the Redis of the service.
        certification_id: the certification that ended.
        result: its result.
        ttl_s: the seconds that the result is kept.
        fence: the fence of the run that made it; None if the job is ended from outside.

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
        keyspace.callback(certification_id),
        keyspace.WEBHOOK_TARGETS,
    )
    token = "" if fence is None else fence.token
    text = result.model_dump_json()
    told = (keyspace.due_webhooks(""), result.status, time.time())
    arguments = (token, text, ttl_s, certification_id, *told)
    done = as_text(redis.eval(_PUT_RESULT, len(keys), *keys, *arguments))
    if done == "superseded":
        raise Superseded(f"another run of {certification_id} has begun")
    if done == "stored":
        count_result(redis, result)
    return done == "stored"
