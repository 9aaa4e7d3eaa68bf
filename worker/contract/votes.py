"""Votes: how they are written, stored on the way, shown and proved."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worker.certification import Phase, Tally
from worker.contract.host import Identity
from worker.contract.quantities import Contract

VOTE_BYTES = 2
_VOTE = np.dtype(">i2")  # 16 bits, most significant byte first; -1 for none


def pack_votes(votes: Sequence[int] | npt.NDArray[np.int64]) -> bytes:
    """Votes as they are stored: `VOTE_BYTES` each."""
    return np.asarray(votes).astype(_VOTE).tobytes()


def unpack_votes(data: bytes) -> tuple[int, ...]:
    """The votes in stored bytes; an incomplete last one is left out."""
    return tuple(np.frombuffer(data, _VOTE, count=len(data) // VOTE_BYTES).tolist())


def encode_votes(votes: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Votes as JSON carries them: as they are stored, in base64."""
    return base64.b64encode(pack_votes(votes)).decode()


def decode_votes(text: str) -> tuple[int, ...]:
    """The votes that `encode_votes` wrote."""
    return unpack_votes(base64.b64decode(text))


class Passed(Contract):
    """The votes of one target at a planned look, and the root of their tree."""

    tally: Tally
    root: str


class Checkpoint(Contract):
    """Votes of a complete prefix of one phase at one noise level, with looks and tree, per target.

    Counts under a different `roll` are votes on different noise (another request or key secret).
    Counts of a different identity are votes of a different f. Neither is continued.

    `passed` has, per target, the planned looks up to the prefix, made or not: where a request goes
    on, a target whose looks had ended may need those that other targets went past.
    """

    roll: str
    identity: Identity
    prefixes: tuple[Tally, ...]
    looks: tuple[tuple[Tally, ...], ...]
    peaks: tuple[tuple[str, ...], ...]
    roots: tuple[str, ...]
    passed: tuple[tuple[Passed, ...], ...] = Field(default=(), exclude_if=lambda value: not value)


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
