"""Votes as they are stored, shown and proved."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field

from worker.certification import Phase, Tally
from worker.contract.host import Identity
from worker.contract.quantities import Contract


class StoredTally(Contract):
    """Votes of a complete prefix, as they are stored."""

    counts: tuple[int, ...]
    ambiguous: int

    @classmethod
    def of(cls, tally: Tally) -> "StoredTally":
        return cls(counts=tally.counts, ambiguous=tally.ambiguous)

    @property
    def tally(self) -> Tally:
        return Tally(counts=self.counts, ambiguous=self.ambiguous)


class Checkpoint(Contract):
    """Votes of a complete prefix of one phase at one noise level, with looks and tree, per target.

    Counts under another `roll` are votes on other noise (another request or key secret), counts of
    another identity are votes of another f; neither is continued.
    """

    roll: str
    identity: Identity
    prefixes: tuple[StoredTally, ...]
    looks: tuple[tuple[StoredTally, ...], ...]
    peaks: tuple[tuple[str, ...], ...]
    roots: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Votes of samples start, start + 1, ... of one stream: class indices, -1 for none."""

    stream: str
    start: int
    votes: tuple[int, ...]


def votes_stream(sigma: Decimal, phase: Phase, target_index: int) -> str:
    """Names the votes of one phase of one certificate within a request."""
    return f"{phase}:{sigma:f}:{target_index}"


class ShownVote(Contract):
    """One sample's vote: a class index, or -1 where it voted for none."""

    sample: int
    vote: int
    path: tuple[str, ...] = Field(description="Hashes from the leaf's sibling up to the root.")


class VoteList(Contract):
    """Votes of one certificate with their proofs (RFC 6962 audit paths, SHA-256)."""

    certificate: int
    phase: Literal["selection", "estimation"]
    ballot: Literal["prediction", "selector"] = "prediction"
    n: int
    root: str
    votes: tuple[ShownVote, ...]


@dataclass(frozen=True, kw_only=True)
class VoteWithPath:
    """One vote as the service shows it, with its path to the root."""

    sample: int
    vote: int
    path: tuple[bytes, ...]
