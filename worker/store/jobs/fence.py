"""The fencing token of a run: only the latest run of a job may write.

A run that RQ takes for dead may only have been slow: stopped, swapped out or cut off from Redis.
Each run replaces the previous run's token with its own. A write succeeds only while the writer's
token is in place.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from worker.store import keyspace


class Superseded(Exception):
    """Another run of this job has begun, or the job has ended. This run may write nothing."""


@dataclass(frozen=True, kw_only=True)
class Fence:
    """The right of one run of a certification to write."""

    certification_id: str
    token: str

    def holds(self, redis: "Redis | Pipeline") -> bool:
        """Whether this run is the latest and its job has no result."""
        return redis.get(keyspace.run(self.certification_id)) in (self.token, self.token.encode())

    def require(self, redis: "Redis | Pipeline") -> None:
        """Raises Superseded unless this run may still write."""
        if not self.holds(redis):
            raise Superseded(f"another run of {self.certification_id} has begun, or it has ended")

    def write(self, redis: Redis, fill: Callable[[Pipeline], object]) -> None:
        """Writes all that `fill` adds to a transaction, or nothing.

        Args:
            redis: where.
            fill: called again when the connection was lost under way.

        Raises:
            Superseded: this run may no longer write.
        """
        while True:
            with redis.pipeline() as pipeline:
                try:
                    pipeline.watch(keyspace.run(self.certification_id))  # type: ignore[no-untyped-call]
                    self.require(pipeline)
                    pipeline.multi()
                    fill(pipeline)
                    pipeline.execute()
                    return
                except WatchError:
                    continue  # another run, or a lost connection: the token says which


def begin_run(redis: Redis, certification_id: str, *, ttl_s: int) -> Fence:
    """Begins a run, which supersedes any earlier run."""
    fence = Fence(certification_id=certification_id, token=uuid.uuid4().hex)
    redis.set(keyspace.run(certification_id), fence.token, ex=ttl_s)
    return fence
