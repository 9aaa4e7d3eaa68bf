"""The records of a roll outside the service: files that need no Redis."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from models.prompts.prompt import Prompt
from worker.contract import Identity
from worker.contract.attempt import Attempt
from worker.contract.host import f_sha256
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned
from worker.contract.votes import Checkpoint
from worker.counting.range_merge import Disagreement
from worker.counting.records.attempts import count_attempt
from worker.counting.records.prefix_files import load_prefix
from worker.counting.records.tuned_files import keep_tuned_files
from worker.counting.roll import Roll

FindPrompt = Callable[[str], Prompt | None]
"""The prompt with a digest, or None."""
FindImages = Callable[[Prompt], Collection[str]]
"""The digests of the images that a prompt's vectors were learned on."""


@final
@dataclass(frozen=True, kw_only=True)
class FileRecords:
    """`Records` in files. An interrupted run starts again: prefixes are stored at a part's end.

    Attributes:
        roll: the roll that is recorded.
        ledger: the folder where attempts on images are counted.
        tuned: the folder for prompts tuned on images.
        find: finds the prompts that the request names.
        find_images: finds the digests of the images that a prompt was learned on.
        prefixes: the folder for the votes at the end of each part of a request that may go on.
    """

    roll: Roll
    ledger: Path
    tuned: Path
    find: FindPrompt
    find_images: FindImages = lambda _: frozenset()
    prefixes: Path | None = None
    disagreements: frozenset[Disagreement] = frozenset()

    def find_prompt(self, sha256: str) -> EncodedPrompt | None:
        """See `Records`."""
        prompt = self.find(sha256)
        return None if prompt is None else EncodedPrompt.of(prompt)

    def was_learned_on_image(self, prompt: EncodedPrompt) -> bool:
        """See `Records`."""
        return self.roll.request.input.sha256 in self.find_images(prompt.decode())

    def keep_tuned(self, create: Callable[[], PromptsTuned]) -> PromptsTuned:
        """See `Records`. On one machine the same request tunes the same prompt, so it is remade."""
        return keep_tuned_files(self.tuned, self.roll.request, create)

    def count_attempt(self, identity: Identity, *, anew: bool) -> Attempt:  # noqa: ARG002  # of `Records`
        """See `Records`. Nothing is resumed here, so nothing is begun anew."""
        request = self.roll.request
        return count_attempt(
            self.ledger,
            request.input.sha256,
            self.roll.sha256,
            alpha=request.alpha_spent,
            f=None if identity.fingerprint is None else f_sha256(identity),
        )

    def get_checkpoints(self) -> Mapping[str, Checkpoint]:
        """See `Records`."""
        return {} if self.prefixes is None else load_prefix(self.prefixes, self.roll)
