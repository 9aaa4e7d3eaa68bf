"""Single votes in Redis. A Merkle root fixes them, and each can be shown and proved."""

from collections.abc import Iterable
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline

from worker.contract import Identity
from worker.contract.certificate.document import Provenance
from worker.contract.host import f_sha256
from worker.contract.votes import VOTE_BYTES, Votes, pack_votes, unpack_votes
from worker.store import keyspace


@dataclass(frozen=True)
class VotesOf:
    """Whose votes: those on a canonical request by one f.

    So a run under another f never overwrites the votes of a certificate that is kept.
    """

    request_sha256: str
    f: Identity | Provenance

    def key(self, stream: str) -> str:
        """The key that holds one stream of them."""
        return keyspace.votes(self.request_sha256, stream, f_sha256(self.f))

    def keys(self, stream: str) -> tuple[str, ...]:
        """That key and those where earlier versions stored the stream."""
        before = (self.f.fingerprint, None)
        return self.key(stream), *(keyspace.votes(self.request_sha256, stream, f) for f in before)


def put_votes(redis: "Redis | Pipeline", of: VotesOf, votes: Votes, *, ttl_s: int) -> None:
    """Stores votes at their place. Storing the same votes again changes nothing."""
    key = of.key(votes.stream)
    redis.setrange(key, votes.start * VOTE_BYTES, pack_votes(votes.votes))
    redis.expire(key, ttl_s)


def get_votes(redis: Redis, of: VotesOf, stream: str, n: int) -> tuple[int, ...]:
    """The votes of samples 0 .. n - 1, or fewer if they are no longer stored."""
    for key in of.keys(stream):
        if data := redis.getrange(key, 0, n * VOTE_BYTES - 1):
            return unpack_votes(data if isinstance(data, bytes) else data.encode())
    return ()


def renew_votes(redis: Redis, of: VotesOf, streams: Iterable[str], *, ttl_s: int) -> None:
    """Renews the time to live of the votes of these streams, if there are any."""
    with redis.pipeline(transaction=False) as pipeline:
        for stream in streams:
            for key in of.keys(stream):
                pipeline.expire(key, ttl_s)
        pipeline.execute()
