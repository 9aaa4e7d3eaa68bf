"""What client and engine say to each other over the unix socket: JSON frames, one image."""

import base64
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from models.catalogue.cards import Sha256, Template
from worker.certification import Phase
from worker.contract.host import EngineFigures, Identity, ModelState
from worker.contract.image import Image
from worker.contract.job import Failure
from worker.contract.prompt import EncodedPrompt
from worker.contract.quantities import Contract, Sigma
from worker.contract.request import ModelRef
from worker.contract.targets import MAX_BANK, Labels, Tuning
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


class TemplateText(Contract):
    """Class names in a sentence."""

    kind: Literal["template"] = "template"
    template: Template
    class_names: Labels


class PromptText(Contract):
    """Class names after the vectors of a prompt, which the session carries."""

    kind: Literal["prompt"] = "prompt"
    prompt_sha256: Sha256
    class_names: Labels


Text = Annotated[TemplateText | PromptText, Field(discriminator="kind")]


class ClassBallot(Contract):
    """A sample votes for the class it is likest, under one prompt."""

    kind: Literal["classes"] = "classes"
    text: Text

    @property
    def num_options(self) -> int:
        """How many different votes there are."""
        return len(self.text.class_names)


class SelectorBallot(Contract):
    """A sample votes for the prompt of a bank under which it is least in doubt."""

    kind: Literal["selector"] = "selector"
    bank: Annotated[tuple[Text, ...], Field(min_length=2, max_length=MAX_BANK)]

    @property
    def num_options(self) -> int:
        """How many different votes there are."""
        return len(self.bank)


Ballot = Annotated[ClassBallot | SelectorBallot, Field(discriminator="kind")]


class _AboutImage(Contract):
    """One image under one model; its bytes, uint8 (3, H, W), follow in the next frame."""

    model: ModelRef
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    prompts: tuple[EncodedPrompt, ...] = Field(
        default=(), description="Those that texts name by digest."
    )
    sigmas: Annotated[tuple[Sigma, ...], Field(min_length=1)]


def _check_alike(ballots: tuple[tuple[Ballot, ...], ...]) -> tuple[tuple[Ballot, ...], ...]:
    sizes = {tuple(ballot.num_options for ballot in at_sigma) for at_sigma in ballots}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError("every noise level has the same ballots, with as many options")
    return ballots


class OpenSession(_AboutImage):
    """Asks for one image's votes: for each noise level, on the same ballots.

    The ballots of two noise levels may differ in their prompts, which can be tuned at each.
    """

    kind: Literal["open"] = "open"
    ballots: Annotated[tuple[tuple[Ballot, ...], ...], AfterValidator(_check_alike)]
    keys: tuple[PhaseKey, ...]

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.ballots) != len(self.sigmas):
            raise ValueError("there are ballots for each noise level")
        return self


class TuningStart(Contract):
    """What one zero-shot prompt starts from, and how it is moved.

    `text` is a template, whose words before the class name become vectors, or a prompt.
    """

    text: Text
    tuning: Tuning


class TunePrompts(_AboutImage):
    """Asks for prompts tuned on one image: one per noise level and start, noise from `key`."""

    kind: Literal["tune"] = "tune"
    starts: Annotated[tuple[TuningStart, ...], Field(min_length=1)]
    low: Word
    high: Word

    @property
    def key(self) -> NoiseKey:
        """The key of the noisy copies; no vote is ever counted on its noise."""
        return NoiseKey(self.low, self.high)


class CountRange(Contract):
    """Asks for the votes of samples start .. stop - 1 at one noise level.

    One that is `ahead` may be asked for later: it is counted where a batch would have empty rows,
    or a device nothing to do, and otherwise when it is asked for.
    """

    kind: Literal["count"] = "count"
    sigma_index: int = Field(ge=0)
    phase: Phase
    start: int = Field(ge=0)
    stop: int = Field(ge=1)
    ahead: bool = False


class AskStatus(Contract):
    """Asks which models are ready."""

    kind: Literal["status"] = "status"


class SessionOpened(Contract):
    """The session's f, and the digests of its noise tables by sigma."""

    kind: Literal["opened"] = "opened"
    identity: Identity
    table_sha256: dict[str, str]


class TunedPrompt(Contract):
    """One tuned prompt, the objective before and after, in nats, and what it took.

    `seconds` is the tuning alone; the image features of the copies are shared by all prompts.
    """

    prompt: EncodedPrompt
    entropy_before: float
    entropy_after: float
    seconds: float


class PromptsTuned(Contract):
    """The tuned prompts, by noise level and start, and the weights they are for."""

    kind: Literal["tuned"] = "tuned"
    weights_sha256: Sha256
    tuned: tuple[tuple[TunedPrompt, ...], ...]


class SessionWaits(Contract):
    """The session is not opened yet: its model is loading, or waits for room. Said repeatedly."""

    kind: Literal["waits"] = "waits"


class SessionRefused(Contract):
    """The session cannot be served, now or later; asking again will not help."""

    kind: Literal["refused"] = "refused"
    failure: Failure


class RangeCounted(Contract):
    """Votes of samples start .. stop - 1: per ballot, counts, ambiguous samples, each vote.

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

    def get_votes(self, ballot_index: int) -> list[int]:
        """The vote of each sample on one ballot: an option's index, or -1 for none."""
        data = base64.b64decode(self.votes[ballot_index])
        found: list[int] = np.frombuffer(data, dtype=">i2").tolist()
        return found


def encode_votes(votes: npt.NDArray[np.int64]) -> str:
    """Votes as `RangeCounted` carries them: 16 bits each, base64."""
    return base64.b64encode(votes.astype(">i2").tobytes()).decode()


class EngineStatus(Contract):
    """The models that are loaded, warm and tested, the measured speed of each, and the others."""

    kind: Literal["status_report"] = "status_report"
    models: tuple[Identity, ...]
    samples_per_s: dict[str, float]
    states: tuple[ModelState, ...]
    figures: EngineFigures = EngineFigures()


Question = Annotated[
    OpenSession | CountRange | TunePrompts | AskStatus, Field(discriminator="kind")
]
Answer = Annotated[
    SessionOpened | SessionWaits | SessionRefused | RangeCounted | PromptsTuned | EngineStatus,
    Field(discriminator="kind"),
]
QUESTION: TypeAdapter[Question] = TypeAdapter(Question)
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)

MAX_FRAME_BYTES = 64 * 1024 * 1024


def require_fitting(session: OpenSession | TunePrompts, image: Image) -> None:
    """ValueError unless the image has the session's size."""
    if image.shape != (3, session.height, session.width):
        raise ValueError(f"the session is for (3, {session.height}, {session.width}) images")
