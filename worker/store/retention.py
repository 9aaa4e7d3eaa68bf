"""Removes entries without a time to live of their own that name what has expired.

And images whose jobs have ended, where nobody was left to let go of them.

Kept for ever, on purpose: attempts with what they spent and under which f counts were shown, the
commitment, the ids prompts ever had, and the digests of vectors tuned on an image and of the images
that vectors were learned on. Every other key has a time to live; these indexes are trimmed here.
"""

from collections.abc import Iterator

from redis import Redis

from worker.store import images, keyspace
from worker.store.connection import as_text

_AT_ONCE = 500
_EVERY_S = 3600
_SWEPT = f"{keyspace.PREFIX}:maintenance:swept"


def sweep(redis: Redis, *, image_ttl_s: int) -> int:
    """Removes entries of lists and indexes whose certification has expired. Returns their number.

    An image that no open job needs lives `image_ttl_s` more at most.
    """
    for key in redis.scan_iter(keyspace.image("*"), count=_AT_ONCE):
        images.let_go(redis, as_text(key).rpartition(":")[2], ttl_s=image_ttl_s)
    return sum(_sweep_list(redis, key) for key in _list_indexes(redis))


def sweep_hourly(redis: Redis, *, image_ttl_s: int) -> None:
    """Sweeps unless another process did within the hour."""
    if redis.set(_SWEPT, "1", nx=True, ex=_EVERY_S):
        sweep(redis, image_ttl_s=image_ttl_s)


def _list_indexes(redis: Redis) -> Iterator[str]:
    yield keyspace.ALL_LISTED
    for key in redis.scan_iter(keyspace.listed("*"), count=_AT_ONCE):
        yield as_text(key)


def _sweep_list(redis: Redis, key: str) -> int:
    """Checks the oldest entries first and stops at the first that is still stored."""
    removed = 0
    while entries := [as_text(one) for one in redis.zrange(key, 0, _AT_ONCE - 1)]:
        with redis.pipeline(transaction=False) as pipeline:
            for one in entries:
                pipeline.exists(keyspace.job(one))
            there = pipeline.execute()
        gone = [one for one, exists in zip(entries, there, strict=True) if not exists]
        if gone:
            removed += int(redis.zrem(key, *gone))
        if len(gone) < len(entries):
            return removed
    return removed
