"""What is kept of a roll beyond one run of it: prompts, attempts, and the votes so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from worker.contract import Identity
from worker.contract.attempt import Attempt
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned
from worker.contract.votes import Checkpoint
from worker.counting.range_merge import Disagreement


class Records(Protocol):
    """The records of one roll: in Redis for a service, in files for the command line."""

    @property
    def disagreements(self) -> frozenset[Disagreement]:
        """The samples that count as ambiguous because two hosts disagreed on them, so far.

        There may be further ones after each counted range; looks never included their votes.
        Prefixes that were counted when there were fewer are counted again.
        """

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """The stored prompt with a digest, or None."""

    def was_learned_on_image(self, prompt: EncodedPrompt) -> bool:
        """Whether the image of this roll was among those that the prompt was learned on."""

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """The tuned prompts kept for this roll before, or those that `create` makes, then kept."""

    def count_attempt(self, identity: Identity, *, anew: bool) -> Attempt:
        """Registers this roll for its image, and says which of its attempts this is.

        Args:
            identity: the f that counts it.
            anew: whether counts of this roll by another f were shown before.
        """

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """The prefixes that an interrupted run stored, or that the request goes on from.

        Empty if there are none.
        """


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """`Records` that keep nothing, for a certificate that nobody is given.

    Attributes:
        prompts: the prompts that the request names, by digest.
        attempts: the ordinal number of this roll.
        alpha_sum: what this roll and those before it spent.
        checkpoints: the prefixes to go on from.
        disagreements: see `Records`.
        learned: the digests of the prompts that were learned on the image.
    """

    prompts: Mapping[str, EncodedPrompt] = field(default_factory=dict)
    attempts: int = 1
    alpha_sum: Decimal | None = None
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    disagreements: frozenset[Disagreement] = frozenset()
    learned: frozenset[str] = frozenset()

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """See `Records`."""
        return self.prompts.get(sha256)

    def was_learned_on_image(self, prompt: EncodedPrompt) -> bool:
        """See `Records`."""
        return prompt.sha256 in self.learned

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """See `Records`."""
        return create()

    def count_attempt(self, identity: Identity, *, anew: bool) -> Attempt:  # noqa: ARG002  # of `Records`
        """See `Records`."""
        return Attempt(number=self.attempts, alpha_sum=self.alpha_sum)

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """See `Records`."""
        return self.checkpoints
