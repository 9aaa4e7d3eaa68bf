"""The messages between client and engine on the Unix socket: JSON frames, and one image."""

import base64
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from models.catalogue.cards import Sha256
from models.catalogue.texts import Template
from worker.certification import Phase, Tally
from worker.contract.host import EngineFigures, Identity, ModelState
from worker.contract.image import Image
from worker.contract.job import Failure
from worker.contract.prompt import EncodedPrompt
from worker.contract.quantities import MAX_PROBED, Contract, Sigma
from worker.contract.request import ModelRef
from worker.contract.targets import MAX_BANK, Labels, Tuning
from worker.contract.votes import decode_votes, encode_votes
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
    """Class names after the vectors of a prompt, which is sent with the session."""

    kind: Literal["prompt"] = "prompt"
    prompt_sha256: Sha256
    class_names: Labels


Text = Annotated[TemplateText | PromptText, Field(discriminator="kind")]


class ClassBallot(Contract):
    """A sample votes for the class with the largest logit under one prompt."""

    kind: Literal["classes"] = "classes"
    text: Text

    @property
    def num_options(self) -> int:
        """The number of options to vote for."""
        return len(self.text.class_names)


class SelectorBallot(Contract):
    """A sample votes for the prompt of a bank with the lowest entropy."""

    kind: Literal["selector"] = "selector"
    bank: Annotated[tuple[Text, ...], Field(min_length=2, max_length=MAX_BANK)]

    @property
    def num_options(self) -> int:
        """The number of options to vote for."""
        return len(self.bank)


Ballot = Annotated[ClassBallot | SelectorBallot, Field(discriminator="kind")]


class _AboutImage(Contract):
    """One image and one model. The image, uint8 (3, H, W), follows in the next frame."""

    model: ModelRef
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    prompts: tuple[EncodedPrompt, ...] = Field(
        default=(), description="Those that texts name by digest."
    )
    sigmas: Annotated[tuple[Sigma, ...], Field(min_length=1)]
    urgent: bool = Field(
        default=False,
        exclude_if=lambda value: not value,
        description="Whether its samples go before others'. No count depends on it.",
    )


def _check_alike(ballots: tuple[tuple[Ballot, ...], ...]) -> tuple[tuple[Ballot, ...], ...]:
    sizes = {tuple(ballot.num_options for ballot in at_sigma) for at_sigma in ballots}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError("every noise level has the same ballots, with as many options")
    return ballots


class OpenSession(_AboutImage):
    """Opens a session for the votes on one image. Each noise level has the same ballots.

    Only the prompts on the ballots may differ, because prompts can be tuned at each noise level.
    `tau` is that of a document whose votes are counted again; None means the model's own.
    """

    kind: Literal["open"] = "open"
    tau: float | None = Field(default=None, ge=0, exclude_if=lambda value: value is None)
    ballots: Annotated[tuple[tuple[Ballot, ...], ...], AfterValidator(_check_alike)]
    keys: tuple[PhaseKey, ...]

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.ballots) != len(self.sigmas):
            raise ValueError("there are ballots for each noise level")
        return self


class TuningStart(Contract):
    """What a zero-shot prompt starts from, and how it is tuned.

    `text` is a template, whose words before the class name become vectors, or a prompt.
    """

    text: Text
    tuning: Tuning


class TunePrompts(_AboutImage):
    """Requests prompts tuned on one image, one per noise level and start, with noise from `key`."""

    kind: Literal["tune"] = "tune"
    starts: Annotated[tuple[TuningStart, ...], Field(min_length=1)]
    low: Word
    high: Word

    @property
    def key(self) -> NoiseKey:
        """The key of the noisy copies. No vote is ever counted on its noise."""
        return NoiseKey(self.low, self.high)


class _Probe(Contract):
    """A question about f under one text, outside any session. uint8 images follow in a frame."""

    model: ModelRef
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    prompts: tuple[EncodedPrompt, ...] = Field(
        default=(), description="The one that the text names by digest."
    )
    text: Text


class ProbeNoise(Contract):
    """The noisy copies start .. stop - 1 of an image. Never those of a certificate's key."""

    sigma: Sigma
    low: Word
    high: Word
    start: int = Field(ge=0)
    stop: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_copies(self) -> Self:
        if not 0 < self.stop - self.start <= MAX_PROBED:
            raise ValueError(f"a question has 1 to {MAX_PROBED} copies")
        return self

    @property
    def key(self) -> NoiseKey:
        """The key of the noisy copies."""
        return NoiseKey(self.low, self.high)


class TakeGradient(_Probe):
    """Requests the gradient of the mean margin of a class, at one image or its noisy copies.

    The margin of a copy is the logit of the class less the largest other logit.
    """

    kind: Literal["gradient"] = "gradient"
    class_index: int = Field(ge=0)
    noise: ProbeNoise | None = Field(default=None, description="None: the image as it is.")
    images: Literal[1] = 1

    @property
    def rows(self) -> int:
        """The rows that pass the image tower."""
        return 1 if self.noise is None else self.noise.stop - self.noise.start


class ClassifyImages(_Probe):
    """Requests the vote of f for each of some images, without noise."""

    kind: Literal["classify"] = "classify"
    images: int = Field(ge=1, le=MAX_PROBED)


class CountRange(Contract):
    """Requests the votes of samples start .. stop - 1 at one noise level.

    A range that is `ahead` may be requested later. It is counted early where a batch has empty rows
    or a device is idle, and otherwise once it is requested.
    """

    kind: Literal["count"] = "count"
    sigma_index: int = Field(ge=0)
    phase: Phase
    start: int = Field(ge=0)
    stop: int = Field(ge=1)
    ahead: bool = False


class AskStatus(Contract):
    """Requests the status of the engine and its models."""

    kind: Literal["status"] = "status"


class SessionOpened(Contract):
    """The f of the session, and the digests of its noise tables by sigma."""

    kind: Literal["opened"] = "opened"
    identity: Identity
    table_sha256: dict[str, str]


class TunedPrompt(Contract):
    """One tuned prompt, and its entropy in nats before and after.

    `seconds` is the time of tuning alone. All prompts share the image features of the copies.
    `start` is the prompt that tuning started from; earlier versions left it out.
    """

    prompt: EncodedPrompt
    start: EncodedPrompt | None = Field(default=None, exclude_if=lambda value: value is None)
    entropy_before: float
    entropy_after: float
    seconds: float


class PromptsTuned(Contract):
    """The tuned prompts by noise level and start, and the digest of the weights they fit."""

    kind: Literal["tuned"] = "tuned"
    weights_sha256: Sha256
    tuned: tuple[tuple[TunedPrompt, ...], ...]


class GradientTaken(Contract):
    """The gradient per grey level, float32 (3, H, W) in base64, and the copies' largest logits.

    `counts` are the copies by the class with the largest logit, computed with the gradient. They
    guide a search and are no votes.
    """

    kind: Literal["gradient_taken"] = "gradient_taken"
    gradient: str
    counts: tuple[int, ...]

    @classmethod
    def of(cls, gradient: npt.NDArray[np.float32], counts: Sequence[int]) -> "GradientTaken":
        data = base64.b64encode(gradient.astype("<f4").tobytes()).decode()
        return cls(gradient=data, counts=tuple(counts))

    def decode(self, height: int, width: int) -> npt.NDArray[np.float64]:
        """The gradient, float64 (3, height, width)."""
        flat = np.frombuffer(base64.b64decode(self.gradient), dtype="<f4")
        return flat.reshape(3, height, width).astype(np.float64)


class ImagesClassified(Contract):
    """For each image the index of a class, or -1 where f is too near a tie to say."""

    kind: Literal["images_classified"] = "images_classified"
    votes: tuple[int, ...]


class SessionWaits(Contract):
    """The session is not open yet: its model is loading or waits for memory. Sent repeatedly."""

    kind: Literal["waits"] = "waits"


class SessionRefused(Contract):
    """The session cannot be served. Another attempt will not help."""

    kind: Literal["refused"] = "refused"
    failure: Failure


class RangeCounted(Contract):
    """The votes of samples start .. stop - 1: for each ballot, the counts and every single vote.

    Ranges of one noise level and phase arrive in ascending order and without gaps.
    """

    kind: Literal["counted"] = "counted"
    sigma_index: int
    phase: Phase
    start: int
    stop: int
    counts: tuple[tuple[int, ...], ...]
    ambiguous: tuple[int, ...]
    votes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        sigma_index: int,
        phase: Phase,
        start: int,
        votes: Sequence[Sequence[int] | npt.NDArray[np.int64]],
        options: Sequence[int],
    ) -> "RangeCounted":
        """The range that begins at `start`: per ballot, the votes and the number of options."""
        tallies = [Tally.of_votes(*one) for one in zip(votes, options, strict=True)]
        return cls(
            sigma_index=sigma_index,
            phase=phase,
            start=start,
            stop=start + len(votes[0]),
            counts=tuple(tally.counts for tally in tallies),
            ambiguous=tuple(tally.ambiguous for tally in tallies),
            votes=tuple(map(encode_votes, votes)),
        )

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """The votes of the range on each ballot."""
        pairs = zip(self.counts, self.ambiguous, strict=True)
        return tuple(Tally(counts=counts, ambiguous=ambiguous) for counts, ambiguous in pairs)

    def get_votes(self, ballot_index: int) -> tuple[int, ...]:
        """The vote of each sample on one ballot: an option's index, or -1 for none."""
        return decode_votes(self.votes[ballot_index])


class EngineStatus(Contract):
    """The models that are loaded and tested, their measured speeds, and all models' states."""

    kind: Literal["status_report"] = "status_report"
    models: tuple[Identity, ...]
    samples_per_s: dict[str, float]
    states: tuple[ModelState, ...]
    figures: EngineFigures = EngineFigures()


Question = Annotated[
    OpenSession | CountRange | TunePrompts | TakeGradient | ClassifyImages | AskStatus,
    Field(discriminator="kind"),
]
Answer = Annotated[
    SessionOpened
    | SessionWaits
    | SessionRefused
    | RangeCounted
    | PromptsTuned
    | GradientTaken
    | ImagesClassified
    | EngineStatus,
    Field(discriminator="kind"),
]
QUESTION: TypeAdapter[Question] = TypeAdapter(Question)
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)

MAX_FRAME_BYTES = 64 * 1024 * 1024


Probe = TakeGradient | ClassifyImages


def require_fitting(session: OpenSession | TunePrompts | Probe, image: Image) -> None:
    """Raises ValueError unless the image has the size of the session."""
    if image.shape != (3, session.height, session.width):
        raise ValueError(f"the session is for (3, {session.height}, {session.width}) images")
