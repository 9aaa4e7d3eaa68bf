"""Single votes in Redis. A Merkle root fixes them, and each can be shown and proved."""

from collections.abc import Iterable

from redis import Redis
from redis.client import Pipeline

from worker.contract.votes import VOTE_BYTES, Votes, pack_votes, unpack_votes
from worker.store import keyspace


def put_votes(redis: "Redis | Pipeline", request_sha256: str, votes: Votes, *, ttl_s: int) -> None:
    """Stores votes at their place. Storing the same votes again changes nothing."""
    key = keyspace.votes(request_sha256, votes.stream)
    redis.setrange(key, votes.start * VOTE_BYTES, pack_votes(votes.votes))
    redis.expire(key, ttl_s)


def get_votes(redis: Redis, request_sha256: str, stream: str, n: int) -> tuple[int, ...]:
    """The votes of samples 0 .. n - 1, or fewer if they are no longer stored."""
    key = keyspace.votes(request_sha256, stream)
    data = redis.getrange(key, 0, n * VOTE_BYTES - 1)
    return unpack_votes(data if isinstance(data, bytes) else data.encode())


def renew_votes(redis: Redis, request_sha256: str, streams: Iterable[str], *, ttl_s: int) -> None:
    """Renews the time to live of the votes of these streams, if there are any."""
    with redis.pipeline(transaction=False) as pipeline:
        for stream in streams:
            pipeline.expire(keyspace.votes(request_sha256, stream), ttl_s)
        pipeline.execute()
