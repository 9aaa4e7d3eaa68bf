"""Samples of a roll that two hosts counted differently, kept in Redis as long as certificates."""

from redis import Redis

from worker.certification import Phase
from worker.contract import CertificationJob
from worker.counting.range_merge import Disagreement
from worker.store import keyspace
from worker.store.connection import as_text


class Disagreements:
    """The samples of one roll that hosts disagree on. Each counts as ambiguous from then on.

    Attributes:
        known: the samples that were found when this was made, and those kept since.
    """

    def __init__(self, redis: Redis, job: CertificationJob, sha256: str, *, ttl_s: int) -> None:
        self._redis, self._job_id, self._ttl_s = redis, job.id, ttl_s
        self._key = keyspace.disagreements(sha256)
        found = redis.smembers(self._key)
        self.known = frozenset(_parse(as_text(one)) for one in found)

    def keep(self, found: frozenset[Disagreement]) -> None:
        """Keeps further ones, and drops the checkpoint, which was counted without them."""
        with self._redis.pipeline() as pipeline:
            pipeline.sadd(self._key, *(":".join(map(str, one)) for one in found))
            pipeline.expire(self._key, self._ttl_s)
            pipeline.delete(keyspace.checkpoint(self._job_id))
            pipeline.execute()
        self.known |= found


def _parse(text: str) -> Disagreement:
    sigma_index, phase, ballot, sample = text.split(":")
    known: Phase = "selection" if phase == "selection" else "estimation"
    return Disagreement(int(sigma_index), known, int(ballot), int(sample))
