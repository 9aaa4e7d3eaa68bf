"""The progress of a running certification, and the votes from which a retry continues."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from redis import Redis
from redis.client import Pipeline

from worker.contract import LiveVotes, Progress
from worker.contract.votes import Checkpoint
from worker.store import keyspace
from worker.store.connection import as_text
from worker.store.jobs.damaged import RecordDamaged, parse_or_none, read_all, read_record

_PROGRESS_TTL_S = 24 * 3600


def note_lost_engine(redis: Redis, certification_id: str) -> None:
    """Notes that an engine ended while it counted for a certification."""
    key = keyspace.lost_engines(certification_id)
    redis.incr(key)
    redis.expire(key, _PROGRESS_TTL_S)


def count_lost_engines(redis: Redis, certification_id: str) -> int:
    """The number of engines that ended while they counted for a certification."""
    return int(redis.get(keyspace.lost_engines(certification_id)) or 0)


def put_progress(
    redis: "Redis | Pipeline",
    certification_id: str,
    done: int,
    total: int,
    live: tuple[LiveVotes, ...] = (),
) -> None:
    """Stores the progress of a running certification."""
    progress = Progress(
        samples_done=done, samples_total=total, updated_at=datetime.now(UTC), live=live
    )
    redis.set(keyspace.progress(certification_id), progress.model_dump_json(), ex=_PROGRESS_TTL_S)


def find_progress(redis: Redis, certification_id: str) -> Progress | None:
    """The progress of a certification, or None if it has not begun or has ended."""
    key = keyspace.progress(certification_id)
    (data,) = read_all(redis, [key], [certification_id], "progress")
    if data is None:
        return None
    return parse_or_none(Progress, data, certification_id, "progress")


def put_checkpoints(
    redis: "Redis | Pipeline",
    certification_id: str,
    checkpoints: Mapping[str, Checkpoint],
    *,
    ttl_s: int,
) -> None:
    """Stores vote counts from which a retry continues."""
    _put(redis, keyspace.checkpoint(certification_id), checkpoints, ttl_s=ttl_s)


def get_checkpoints(redis: Redis, certification_id: str) -> dict[str, Checkpoint]:
    """The stored vote counts by stream name; empty before the first ones are stored.

    Counts that cannot be read are left out. They are counted again, with the same outcome.
    """
    return _get(redis, keyspace.checkpoint(certification_id), certification_id)


def put_prefix(
    redis: "Redis | Pipeline",
    sha256: str,
    continuations: int,
    checkpoints: Mapping[str, Checkpoint],
    *,
    ttl_s: int,
) -> None:
    """Stores the vote counts at the end of a part of a canonical request."""
    _put(redis, keyspace.prefix(sha256, continuations), checkpoints, ttl_s=ttl_s)


def find_prefix(redis: Redis, sha256: str, *, before: int) -> dict[str, Checkpoint]:
    """The vote counts at the end of the latest part before this one; empty if none are stored."""
    for part in reversed(range(before)):
        if found := _get(redis, keyspace.prefix(sha256, part), sha256):
            return found
    return {}


def _put(
    redis: "Redis | Pipeline", key: str, checkpoints: Mapping[str, Checkpoint], *, ttl_s: int
) -> None:
    redis.hset(key, mapping={name: c.model_dump_json() for name, c in checkpoints.items()})
    redis.expire(key, ttl_s)


def _get(redis: Redis, key: str, of: str) -> dict[str, Checkpoint]:
    try:
        stored = read_record(partial(redis.hgetall, key), of, "checkpoint")
    except RecordDamaged:
        redis.delete(key)  # another type would refuse the next ones
        return {}
    found = {
        as_text(name): parse_or_none(Checkpoint, data, of, "checkpoint")
        for name, data in stored.items()
    }
    return {name: one for name, one in found.items() if one is not None}
