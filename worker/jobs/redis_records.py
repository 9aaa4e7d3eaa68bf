"""The records of a roll in the service: Redis, shared by all hosts."""

from collections.abc import Callable, Mapping
from typing import final

from redis import Redis

from worker.contract import CertificationJob, Identity
from worker.contract.attempt import Attempt
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned
from worker.contract.votes import Checkpoint
from worker.counting.range_merge import Disagreement
from worker.counting.roll import Roll
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.tuned_prompts import TunedStore
from worker.store import prompts, tuned_vectors
from worker.store.jobs import certificates, progress


@final
class RedisRecords:
    """`Records` of a job's roll in Redis.

    Args:
        redis: the Redis of the service.
        job: the job that is run.
        roll: its request under the key secret.
        disagreements: the samples that hosts disagree on, those found while the job runs too.
        ttl_s: the seconds that tuned prompts are kept.
    """

    def __init__(
        self,
        redis: Redis,
        job: CertificationJob,
        roll: Roll,
        *,
        disagreements: Disagreements,
        ttl_s: int,
    ) -> None:
        self._redis, self._job, self._roll = redis, job, roll
        self._tuned = TunedStore(redis, roll, ttl_s, owner=job.owner)
        self._disagreements = disagreements

    @property
    def disagreements(self) -> frozenset[Disagreement]:
        """See `Records`."""
        return self._disagreements.known

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """See `Records`."""
        return prompts.find_prompt(self._redis, sha256)

    def was_learned_on_image(self, prompt: EncodedPrompt) -> bool:
        """See `Records`."""
        image = self._roll.request.input.sha256
        return tuned_vectors.was_learned_on(self._redis, prompt.decode(), image)

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """See `Records`. Of two runs at the same time, the first one's prompts stand."""
        return self._tuned.keep(create)

    def count_attempt(self, identity: Identity, *, anew: bool) -> Attempt:
        """See `Records`."""
        return certificates.count_attempt(
            self._redis, self._roll.request, self._roll.sha256, identity, anew=anew
        )

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """See `Records`."""
        own = progress.get_checkpoints(self._redis, self._job.id)
        before = self._roll.request.continuations
        return own or progress.find_prefix(self._redis, self._roll.sha256, before=before)
