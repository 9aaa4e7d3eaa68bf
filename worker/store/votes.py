"""Single votes in Redis: what a Merkle root fixes, kept so that each can be shown and proved."""

from collections.abc import Iterable

import numpy as np
from redis import Redis
from redis.client import Pipeline

from worker.contract.votes import Votes
from worker.store import keyspace

_BYTES = 2  # a vote is a 16-bit integer, most significant byte first


def put_votes(redis: "Redis | Pipeline", request_sha256: str, votes: Votes, *, ttl_s: int) -> None:
    """Stores votes at their place; storing the same ones again changes nothing."""
    key = keyspace.votes(request_sha256, votes.stream)
    redis.setrange(key, votes.start * _BYTES, np.array(votes.votes, dtype=">i2").tobytes())
    redis.expire(key, ttl_s)


def get_votes(redis: Redis, request_sha256: str, stream: str, n: int) -> tuple[int, ...]:
    """The votes of samples 0 .. n - 1; fewer where they are no longer stored."""
    key = keyspace.votes(request_sha256, stream)
    data = redis.getrange(key, 0, n * _BYTES - 1)
    raw = data if isinstance(data, bytes) else data.encode()
    return tuple(np.frombuffer(raw[: len(raw) // _BYTES * _BYTES], dtype=">i2").tolist())


def renew_votes(redis: Redis, request_sha256: str, streams: Iterable[str], *, ttl_s: int) -> None:
    """Once more the whole time to live for the votes of these streams, where there are any."""
    with redis.pipeline(transaction=False) as pipeline:
        for stream in streams:
            pipeline.expire(keyspace.votes(request_sha256, stream), ttl_s)
        pipeline.execute()
