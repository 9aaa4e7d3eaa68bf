"""Webhooks that are to be delivered: noted when a job is accepted, due when it has its result.

The script that stores a result also makes its webhook due, so no end is missed. Whoever delivers
claims a webhook for a while. A process that ends in between leaves it to the next one, so a webhook
is delivered at least once, and each time under the same id.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from redis import Redis
from redis.client import Pipeline

from models.log import get_logger
from worker.contract import Contract
from worker.contract.job import Owner
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs.damaged import RecordDamaged, read_record

log = get_logger(__name__)

Kind = Literal["certification", "learning"]
Status = Literal["finished", "failed", "cancelled"]
KEPT_S = 2 * 24 * 3600
"""How long a webhook is kept beyond its job: longer than deliveries are tried."""

END_CALLBACK = """
local function end_callback(callback, targets, due_at, name, status, now)
  local target = redis.call('HGET', callback, 'target')
  if not target then return end
  redis.call('HSET', callback, 'status', status, 'ended_at', now)
  redis.call('ZADD', due_at .. target, now, name)
  redis.call('SADD', targets, target)
end
"""
"""A function for the scripts that end a job.

`due_at` is `keyspace.due_webhooks("")`, and `name` that of the webhook: see `Callback.name`.
"""

_NOTE_WHILE_OPEN = """
if redis.call('EXISTS', KEYS[1]) == 1 then return end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[2], ARGV[1])
"""
_CLAIM = """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, name in ipairs(found) do redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[2], name) end
if redis.call('ZCARD', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], ARGV[4]) end
return found
"""


class Callback(Contract):
    """Where the end of a job is to be told. `target` is the origin of the address."""

    kind: Kind = "certification"
    job_id: str
    batch_id: str | None = None
    owner: Owner
    url: str
    target: str

    @property
    def name(self) -> str:
        """What lists of due webhooks call it: the job's id, behind `learning:` if it is one."""
        return self.job_id if self.kind == "certification" else f"{self.kind}:{self.job_id}"


class EndedCallback(Callback):
    """A webhook that is due: how the job ended, and how often delivery was tried."""

    status: Status
    ended_at: datetime
    attempts: int = 0


def note_callback(pipeline: "Redis | Pipeline", callback: Callback, *, ttl_s: int) -> None:
    """Notes a webhook in the transaction that accepts its job."""
    key = find_key(callback.name)
    fields: dict[Any, Any] = callback.model_dump(exclude_none=True)
    pipeline.hset(key, mapping=fields)
    pipeline.expire(key, ttl_s + KEPT_S)


def note_while_open(redis: Redis, callback: Callback, result_key: str, *, ttl_s: int) -> None:
    """Notes a webhook of a job that was accepted before, in place of its own, unless it has ended.

    Args:
        redis: the Redis of the service.
        callback: where its end is to be told from now on.
        result_key: the key of its result.
        ttl_s: the seconds that the job is kept.
    """
    fields = [text for pair in callback.model_dump(exclude_none=True).items() for text in pair]
    keys = (result_key, find_key(callback.name))
    redis.eval(_NOTE_WHILE_OPEN, len(keys), *keys, ttl_s + KEPT_S, *fields)


def list_targets(redis: Redis) -> tuple[str, ...]:
    """The origins that webhooks wait for."""
    return tuple(sorted(map(as_text, redis.smembers(keyspace.WEBHOOK_TARGETS))))


def claim_due(
    redis: Redis, target: str, *, now: float, lease_s: float, most: int
) -> list[EndedCallback]:
    """Webhooks of one target that are due, the first first. Nobody else gets them for `lease_s`."""
    keys = (keyspace.due_webhooks(target), keyspace.WEBHOOK_TARGETS)
    found = redis.eval(_CLAIM, len(keys), *keys, now, lease_s, most, target)
    read = [(as_text(one), _find(redis, as_text(one))) for one in found]
    for name, callback in read:
        if callback is None:
            settle(redis, target, name)
    return [callback for _, callback in read if callback is not None]


def find_key(name: str) -> str:
    """The key of the webhook that is called so: see `Callback.name`."""
    kind, _, job_id = name.rpartition(":")
    return keyspace.learning_callback(job_id) if kind else keyspace.callback(job_id)


def _find(redis: Redis, name: str) -> EndedCallback | None:
    """A webhook, or None if it has expired or cannot be read."""
    try:
        stored = read_record(partial(redis.hgetall, find_key(name)), name, "webhook")
        return _parse(stored) if stored else None
    except RecordDamaged:
        return None
    except (ValueError, ArithmeticError, OSError):  # what no time or no text can be
        log.error("record_damaged", webhook=name, record="webhook")
        return None


def _parse(stored: dict[bytes, bytes]) -> EndedCallback:
    fields = {as_text(name): as_text(value) for name, value in stored.items()}
    fields["ended_at"] = datetime.fromtimestamp(float(fields.get("ended_at", 0)), UTC).isoformat()
    return EndedCallback.model_validate(fields)


def settle(redis: Redis, target: str, name: str) -> None:
    """Forgets a webhook: it was delivered or given up."""
    with redis.pipeline() as pipeline:
        pipeline.zrem(keyspace.due_webhooks(target), name)
        pipeline.delete(find_key(name))
        pipeline.execute()


def postpone(redis: Redis, callback: EndedCallback, until: float) -> None:
    """Counts an attempt that failed. The next one is due then."""
    with redis.pipeline() as pipeline:
        pipeline.zadd(keyspace.due_webhooks(callback.target), {callback.name: until}, xx=True)
        pipeline.hincrby(find_key(callback.name), "attempts", 1)
        pipeline.execute()


def count_due(redis: Redis) -> int:
    """The number of webhooks that wait, those that are tried again later among them."""
    with redis.pipeline(transaction=False) as pipeline:
        for target in list_targets(redis):
            pipeline.zcard(keyspace.due_webhooks(target))
        found = pipeline.execute(raise_on_error=False)
    return sum(number for number in found if isinstance(number, int))
