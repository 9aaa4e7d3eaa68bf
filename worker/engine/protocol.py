"""What client and engine say to each other over the unix socket: JSON frames, one image."""

import base64
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from worker.certification import Phase
from worker.contract import Contract, Failure, Identity, ModelRef, Sigma, Target
from worker.images_store import Image
from worker.sampling.words import NoiseKey

Word = Annotated[int, Field(ge=0, lt=2**64)]


class PhaseKey(Contract):
    """The noise key of one phase."""

    phase: Phase
    low: Word
    high: Word

    @property
    def key(self) -> NoiseKey:
        return NoiseKey(self.low, self.high)


class OpenSession(Contract):
    """Asks for one image's votes; the image's bytes, uint8 (3, H, W), follow in the next frame."""

    kind: Literal["open"] = "open"
    model: ModelRef
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    sigmas: Annotated[tuple[Sigma, ...], Field(min_length=1)]
    keys: tuple[PhaseKey, ...]


class CountRange(Contract):
    """Asks for the votes of samples start .. stop - 1 at one noise level."""

    kind: Literal["count"] = "count"
    sigma_index: int = Field(ge=0)
    phase: Phase
    start: int = Field(ge=0)
    stop: int = Field(ge=1)


class AskStatus(Contract):
    """Asks which models are ready."""

    kind: Literal["status"] = "status"


class SessionOpened(Contract):
    """The session's f, and the digests of its noise tables by sigma."""

    kind: Literal["opened"] = "opened"
    identity: Identity
    table_sha256: dict[str, str]


class SessionRefused(Contract):
    """The session cannot be served, now or later; asking again will not help."""

    kind: Literal["refused"] = "refused"
    failure: Failure


class RangeCounted(Contract):
    """Votes of samples start .. stop - 1: per target, counts of classes, ambiguous ones, each vote.

    Ranges of one noise level and phase arrive in ascending order, none left out.
    """

    kind: Literal["counted"] = "counted"
    sigma_index: int
    phase: Phase
    start: int
    stop: int
    counts: tuple[tuple[int, ...], ...]
    ambiguous: tuple[int, ...]
    votes: tuple[str, ...]

    def get_votes(self, target_index: int) -> list[int]:
        """The vote of each sample for one target: a class index, or -1 for none."""
        data = base64.b64decode(self.votes[target_index])
        found: list[int] = np.frombuffer(data, dtype=">i2").tolist()
        return found


def encode_votes(votes: npt.NDArray[np.int64]) -> str:
    """Votes as `RangeCounted` carries them: 16 bits each, base64."""
    return base64.b64encode(votes.astype(">i2").tobytes()).decode()


class EngineStatus(Contract):
    """The models that are loaded, warm and tested, and the measured speed of each."""

    kind: Literal["status_report"] = "status_report"
    models: tuple[Identity, ...]
    samples_per_s: dict[str, float]


Question = Annotated[OpenSession | CountRange | AskStatus, Field(discriminator="kind")]
Answer = Annotated[
    SessionOpened | SessionRefused | RangeCounted | EngineStatus, Field(discriminator="kind")
]
QUESTION: TypeAdapter[Question] = TypeAdapter(Question)
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)

MAX_FRAME_BYTES = 64 * 1024 * 1024


def require_fitting(session: OpenSession, image: Image) -> None:
    """ValueError unless the image has the session's size."""
    if image.shape != (3, session.height, session.width):
        raise ValueError(f"the session is for (3, {session.height}, {session.width}) images")
