"""A roll: one request under one key secret, and all that follows from the two."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from worker.certification import Phase
from worker.contract import CertifyRequest
from worker.contract.request import canonical_bytes, request_sha256
from worker.counting.contests import PHASES
from worker.key_secret import commitment
from worker.sampling.keys import KeyPurpose, derive_key
from worker.sampling.words import NoiseKey


@dataclass(frozen=True)
class Roll:
    """A request and the secret that its noise keys are derived from. Equal rolls, equal noise.

    Every value is derived when it is first asked for, and once.

    Attributes:
        request: what is certified.
        secret: the secret.
        noise_of: the request whose noise is drawn, if it is not this request's own. So an
            evaluation judges another model on the very noise that the first model saw. Both
            requests are fixed before the keys are derived.
    """

    request: CertifyRequest
    secret: bytes = field(repr=False)
    noise_of: CertifyRequest | None = None

    def __post_init__(self) -> None:
        if self.noise_of is not None and self.noise_of.input.sha256 != self.request.input.sha256:
            raise ValueError("two requests share noise only if they are about the same image")

    @cached_property
    def commitment(self) -> str:
        """The published commitment to the secret."""
        return commitment(self.secret)

    @cached_property
    def sha256(self) -> str:
        """Names the canonical request, and the one whose noise is drawn, under this secret."""
        own = request_sha256(self.request, self.commitment)
        if self.noise_of is None:
            return own
        drawn = request_sha256(self.noise_of, self.commitment)
        return hashlib.sha256(f"{own}\n{drawn}".encode()).hexdigest()

    @cached_property
    def keys(self) -> Mapping[Phase, NoiseKey]:
        """The noise key of each phase."""
        return {phase: self._derive_key(phase) for phase in PHASES}

    @cached_property
    def tuning_key(self) -> NoiseKey:
        """The key of the noisy copies that prompts are tuned on. No vote is counted on its noise.

        It is for requests with a tuned prompt.
        """
        return self._derive_key("adaptation")

    @cached_property
    def attack_key(self) -> NoiseKey:
        """The key of the noise on which changes of an answer are looked for."""
        return self._derive_key("attack")

    @cached_property
    def witness_key(self) -> NoiseKey:
        """The key of the votes that show a changed answer. The search never sees its noise."""
        return self._derive_key("witness")

    @property
    def revealed_keys(self) -> Mapping[KeyPurpose, NoiseKey]:
        """The keys that this request uses, by purpose: its certificates state them."""
        keys: dict[KeyPurpose, NoiseKey] = dict(self.keys.items())
        if self.request.tuned_targets:
            keys["adaptation"] = self.tuning_key
        return keys

    @cached_property
    def _canonical(self) -> bytes:
        return canonical_bytes((self.noise_of or self.request).identity())

    def _derive_key(self, purpose: KeyPurpose) -> NoiseKey:
        return derive_key(self.secret, self._canonical, purpose)
