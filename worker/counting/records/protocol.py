"""What is kept of a roll beyond one run of it: prompts, attempts, and the votes so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned
from worker.contract.votes import Checkpoint


class Records(Protocol):
    """The records of one roll: in Redis for a service, in files for the command line."""

    @property
    def disagreements(self) -> int:
        """How many samples count as ambiguous because two hosts disagreed on them.

        Prefixes that were counted when there were fewer are counted again.
        """

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """The stored prompt with a digest, or None."""

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """The tuned prompts kept for this roll before, or those that `create` makes, then kept."""

    def count_attempt(self) -> int:
        """Registers this roll for its image and returns its ordinal number, starting from 1."""

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """The prefixes that an interrupted run stored; empty if there are none."""


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """`Records` that keep nothing, for a certificate that nobody is given.

    Attributes:
        prompts: the prompts that the request names, by digest.
        attempts: the ordinal number of this roll.
        checkpoints: the prefixes to go on from.
        disagreements: see `Records`.
    """

    prompts: Mapping[str, EncodedPrompt] = field(default_factory=dict)
    attempts: int = 1
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    disagreements: int = 0

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """See `Records`."""
        return self.prompts.get(sha256)

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """See `Records`."""
        return create()

    def count_attempt(self) -> int:
        """See `Records`."""
        return self.attempts

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """See `Records`."""
        return self.checkpoints
