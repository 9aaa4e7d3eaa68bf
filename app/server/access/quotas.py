"""Quotas: how many jobs a caller may have at a time, and how many samples a day.

Both are counted before anything is queued, and released if queueing fails. Workers keep no books:
jobs that have ended leave the count only when a new job would exceed the quota.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from redis import Redis

from app.server.access.caller import Caller
from app.server.answers.problems import QuotaExceeded, QuotaTooSmall
from app.settings import Quotas
from worker.jobs.state import State, get_states
from worker.learning.queue import get_status
from worker.store import keyspace
from worker.store.connection import as_text

_JOBS_RETRY_S = 30
_SETTLED_S = 60  # a job counted a moment ago may not be queued yet
_DAY_S = 24 * 3600
_KEPT_S = 90 * _DAY_S
_RESERVE = """
local jobs, samples = tonumber(ARGV[1]), tonumber(ARGV[2])
if jobs > 0 and redis.call('ZCARD', KEYS[1]) + #ARGV - 5 > jobs then return 'jobs' end
local asked = tonumber(redis.call('GET', KEYS[2])) or 0
if samples > 0 and asked + ARGV[3] > samples then return 'samples' end
if jobs > 0 then
  for i = 6, #ARGV do redis.call('ZADD', KEYS[1], ARGV[4], ARGV[i]) end
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
if samples > 0 then
  redis.call('INCRBY', KEYS[2], ARGV[3])
  redis.call('EXPIRE', KEYS[2], 172800)
end
return 'ok'
"""


@contextmanager
def reserve(
    redis: Redis,
    caller: Caller,
    *,
    certify: Sequence[str] = (),
    learn: Sequence[str] = (),
    samples: int,
) -> Iterator[None]:
    """Counts a caller's jobs and samples while they are queued; releases them if queueing fails.

    Raises:
        QuotaExceeded: the key would exceed its quota.
        QuotaTooSmall: the request alone is more than the quota.
    """
    quotas, now = caller.quotas, datetime.now(UTC)
    _require_enough(quotas, jobs=len(certify) + len(learn), samples=samples)
    if quotas.jobs is None and quotas.samples_per_day is None:
        yield
        return
    names = [*(f"certify:{each}" for each in certify), *(f"learn:{each}" for each in learn)]
    keys = keyspace.open_jobs(caller.key_id), keyspace.samples_asked(caller.key_id, now.date())
    bounds = quotas.jobs or 0, quotas.samples_per_day or 0

    def count() -> str:
        said = redis.eval(_RESERVE, 2, *keys, *bounds, samples, now.timestamp(), _KEPT_S, *names)
        return as_text(said)

    if (said := count()) == "jobs" and _forget_ended(redis, keys[0], before=now):
        said = count()
    if said == "jobs":
        raise QuotaExceeded(
            f"This key may have at most {quotas.jobs} jobs queued or running at a time.",
            headers={"Retry-After": str(_JOBS_RETRY_S)},
        )
    if said == "samples":
        raise QuotaExceeded(
            f"This key may request at most {quotas.samples_per_day} samples per UTC day.",
            headers={"Retry-After": str(_seconds_to_midnight(now))},
        )
    try:
        yield
    except BaseException:
        with redis.pipeline() as pipeline:
            pipeline.zrem(keys[0], *names)
            if quotas.samples_per_day is not None:
                pipeline.decrby(keys[1], samples)
            pipeline.execute()
        raise


def _require_enough(quotas: Quotas, *, jobs: int, samples: int) -> None:
    """Refuses what can never pass, however long the caller waits."""
    if quotas.jobs is not None and jobs > quotas.jobs:
        raise QuotaTooSmall(
            f"Expected at most {quotas.jobs} jobs, which this key may have at a time, got {jobs}."
        )
    if quotas.samples_per_day is not None and samples > quotas.samples_per_day:
        raise QuotaTooSmall(
            f"Expected at most {quotas.samples_per_day} samples, which this key may request in a "
            f"day, got {samples}."
        )


def _forget_ended(redis: Redis, key: str, *, before: datetime) -> bool:
    """Removes jobs that have ended from the count; whether there were any."""
    settled = (before - timedelta(seconds=_SETTLED_S)).timestamp()
    names = [as_text(name) for name in redis.zrangebyscore(key, 0, settled)]  # members alone
    certify = [name.partition(":")[2] for name in names if name.startswith("certify:")]
    states = dict(zip(certify, get_states(redis, certify), strict=True))
    ended = [name for name in names if _has_ended(redis, name, states)]
    return bool(ended) and bool(redis.zrem(key, *ended))


def _has_ended(redis: Redis, name: str, states: dict[str, State]) -> bool:
    kind, _, job_id = name.partition(":")
    state = states[job_id] if kind == "certify" else get_status(redis, job_id)
    return state not in ("queued", "running")


def _seconds_to_midnight(now: datetime) -> int:
    return _DAY_S - (now.hour * 3600 + now.minute * 60 + now.second)
