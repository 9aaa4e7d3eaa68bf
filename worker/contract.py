"""What crosses Redis between app and worker: jobs in, progress and results out.

Every value is frozen and checked when made; an object that exists is valid. Numbers that decide
noise (sigma, alpha) travel as the decimal that was written, so that no binary rounding lies
between the request and the certificate.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from models.cards import ClassNames, Sha256, Template
from models.prompt_cards import Method, PromptId

SCHEMA_VERSION = 1
QUEUE_NAME = "certify"
TASK_CERTIFY = "worker.tasks.certify_image"
TASK_COUNT_RANGES = "worker.tasks.count_ranges"
LEARNING_QUEUE_NAME = "learn"
TASK_LEARN = "worker.learning.learn"
TASKS = frozenset({TASK_CERTIFY, TASK_COUNT_RANGES, TASK_LEARN})

MAX_SIGMAS = 16
MAX_TARGETS = 16
MAX_CLASS_NAMES = 100
MAX_BANK = 16
MAX_SAMPLES = 1_000_000  # of one phase of one certificate; the app's own limit is lower


def _plain(value: Decimal) -> str:
    """The shortest spelling of a decimal: 0.50 and 5e-1 are both 0.5."""
    return f"{value.normalize():f}"


def _check_sigma(value: Decimal) -> Decimal:
    if not Decimal("0.001") <= value <= Decimal("10"):
        raise ValueError(f"sigma must lie between 0.001 and 10, got {_plain(value)}")
    return value.normalize()


def _check_alpha(value: Decimal) -> Decimal:
    if not Decimal("1e-12") <= value < Decimal("0.5"):
        raise ValueError(f"alpha must lie between 1e-12 and 0.5, got {value}")
    return value.normalize()


def _check_noise_levels(sigmas: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    """Ascending, so that the order of naming is no other request."""
    if len(set(sigmas)) != len(sigmas):
        raise ValueError("each sigma may be named once")
    return tuple(sorted(sigmas))


_AsText = PlainSerializer(_plain, return_type=str)
Sigma = Annotated[
    Decimal, Field(allow_inf_nan=False, max_digits=12), AfterValidator(_check_sigma), _AsText
]
Alpha = Annotated[
    Decimal, Field(allow_inf_nan=False, max_digits=16), AfterValidator(_check_alpha), _AsText
]
NoiseLevels = Annotated[
    tuple[Sigma, ...],
    Field(min_length=1, max_length=MAX_SIGMAS),
    AfterValidator(_check_noise_levels),
]
Radius = Annotated[Decimal, Field(gt=0, le=1000, max_digits=12, allow_inf_nan=False), _AsText]
Tolerance = Annotated[Decimal, Field(ge=0, lt=1, max_digits=12, allow_inf_nan=False), _AsText]
Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


class Contract(BaseModel):
    """Base of everything that is stored or sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputImage(Contract):
    """The certified image: 8 bit, (3, height, width), and how it was read from the file.

    `sha256` is the digest of the prepared integers, not of the file: the same picture in another
    encoding is the same input.
    """

    sha256: Sha256
    height: int = Field(ge=1, le=2048)
    width: int = Field(ge=1, le=2048)
    source: str
    window: tuple[float, float] | None = None
    window_origin: Literal["request", "file", "percentile", "none"] = "none"
    frame: int = Field(default=0, ge=0)
    frames: int = Field(default=1, ge=1)
    notes: tuple[str, ...] = ()


class ModelRef(Contract):
    """A model and the weights it was asked with."""

    id: str
    sha256: Sha256


Labels = Annotated[ClassNames, Field(max_length=MAX_CLASS_NAMES)]


class PromptRef(Contract):
    """A stored prompt: its digest says which, its id is what people call it."""

    id: PromptId
    sha256: Sha256
    method: Method

    @property
    def is_tuned_on_an_image(self) -> bool:
        """Whether the prompt is a function of one image, and not fixed before any was seen."""
        return self.method in ("zero-shot", "few-shot+zero-shot")


class Tuning(Contract):
    """How a zero-shot prompt is tuned; the defaults are the published ones.

    `copies` noisy copies of the image at the certificate's own sigma, `steps` of AdamW on the
    entropy of their mean class distribution.
    """

    copies: int = Field(default=100, ge=1, le=1000)
    steps: int = Field(default=1, ge=1, le=100)
    learning_rate: float = Field(default=5e-3, gt=0, le=1, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)


class TemplateTarget(Contract):
    """One label set under a sentence with a place for the class name."""

    prompting: Literal["template"] = "template"
    template: Template
    class_names: Labels


class FewShotTarget(Contract):
    """One label set under a stored prompt, as it is."""

    prompting: Literal["few-shot"] = "few-shot"
    prompt: PromptRef
    class_names: Labels


class ZeroShotTarget(Contract):
    """One label set under a prompt tuned on this image, from a template's words."""

    prompting: Literal["zero-shot"] = "zero-shot"
    template: Template
    class_names: Labels
    tuning: Tuning = Tuning()


class FewShotZeroShotTarget(Contract):
    """One label set under a stored prompt that is tuned further on this image."""

    prompting: Literal["few-shot+zero-shot"] = "few-shot+zero-shot"
    prompt: PromptRef
    class_names: Labels
    tuning: Tuning = Tuning()


class BankTemplate(Contract):
    """A template as one of a bank's prompts."""

    template: Template


BankEntry = PromptRef | BankTemplate


def _check_bank(bank: tuple[BankEntry, ...]) -> tuple[BankEntry, ...]:
    """Different prompts, none of which was made from an image that is certified."""
    names = [e.sha256 if isinstance(e, PromptRef) else e.template for e in bank]
    if len(set(names)) != len(names):
        raise ValueError("the prompts of a bank differ from one another")
    if any(isinstance(entry, PromptRef) and entry.is_tuned_on_an_image for entry in bank):
        raise ValueError("a bank is fixed before any image is seen; a tuned prompt is not")
    return bank


Bank = Annotated[
    tuple[BankEntry, ...], Field(min_length=2, max_length=MAX_BANK), AfterValidator(_check_bank)
]


class RoutedTarget(Contract):
    """One label set under a bank of prompts, among which a smoothed selector chooses."""

    prompting: Literal["routed"] = "routed"
    bank: Bank
    class_names: Labels


Target = Annotated[
    TemplateTarget | FewShotTarget | ZeroShotTarget | FewShotZeroShotTarget | RoutedTarget,
    Field(discriminator="prompting"),
]
"""One label set under one prompting: what the image is compared with."""

TunedTarget = ZeroShotTarget | FewShotZeroShotTarget


class CohenParameters(Contract):
    """Procedure `cohen`: n0 samples choose the class, n fresh ones bound its probability."""

    procedure: Literal["cohen"] = "cohen"
    n0: Samples = 100
    n: Samples = 10_000


class StagedParameters(Contract):
    """Procedure `staged`: looks at growing prefixes, at most n_max samples.

    With `target_radius` the question is whether the radius is at least that. Without it, sampling
    ends when n_max would add no more than the share `tolerance`, or when not even
    `minimum_radius` (default: 0.05 sigma) is in reach.
    """

    procedure: Literal["staged"] = "staged"
    n_max: Samples = 10_000
    target_radius: Radius | None = None
    tolerance: Tolerance = Decimal("0.05")
    minimum_radius: Radius | None = None


Procedure = Annotated[StagedParameters | CohenParameters, Field(discriminator="procedure")]


class CertifyRequest(Contract):
    """Everything that is fixed before the noise key exists.

    With `joint` all certificates of the request (`images` images x sigmas x targets) hold together
    with probability 1 - alpha, alpha divided equally among them; without it each holds at alpha.
    """

    input: InputImage
    model: ModelRef
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=MAX_TARGETS)]
    sigmas: NoiseLevels
    procedure: Procedure = StagedParameters()
    alpha: Alpha = Decimal("0.001")
    joint: bool = False
    images: int = Field(default=1, ge=1, le=10_000)
    attempt: int = Field(default=0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _check_routed(self) -> Self:
        routed = any(isinstance(target, RoutedTarget) for target in self.targets)
        if routed and not isinstance(self.procedure, StagedParameters):
            raise ValueError("a routed certificate is made by the procedure staged")
        return self

    @property
    def tuned_targets(self) -> tuple[tuple[int, TunedTarget], ...]:
        """The targets whose prompt is tuned on the image, with their places."""
        return tuple(
            (place, target)
            for place, target in enumerate(self.targets)
            if isinstance(target, ZeroShotTarget | FewShotZeroShotTarget)
        )

    @property
    def samples_total(self) -> int:
        """Passes of the image tower that this request asks for at most."""
        return len(self.sigmas) * (self.copies + self._samples_each)

    @property
    def copies(self) -> int:
        """Noisy copies of the image, per noise level, that prompts are tuned on."""
        return max((target.tuning.copies for _, target in self.tuned_targets), default=0)

    @property
    def _samples_each(self) -> int:
        match self.procedure:
            case CohenParameters(n0=n0, n=n):
                return n0 + n
            case StagedParameters(n_max=n_max):
                return n_max

    @property
    def certificates_asked(self) -> int:
        """How many certificates share alpha when they are to hold together."""
        return self.images * len(self.sigmas) * len(self.targets)

    @property
    def alpha_each(self) -> float:
        """The error probability of one certificate."""
        return float(self.alpha) / self.certificates_asked if self.joint else float(self.alpha)

    def identity(self) -> dict[str, Any]:
        """The canonical fields a noise key is derived from: what can change a certificate.

        How the picture was encoded is left out: its integers are what is certified. So are the
        names of prompts, and how many images were sent along where alpha is not divided among them.
        """
        fields = _by_digest(self.model_dump(mode="json", exclude={"input"}))
        if not self.joint:
            fields["images"] = 1
        return {"schema": SCHEMA_VERSION, "input": self.input.sha256, **fields}


def _by_digest(value: Any) -> Any:
    """The same JSON with every `PromptRef` reduced to its digest and whether it was tuned.

    What a prompt is called and who imported it changes nothing that is certified.
    """
    if isinstance(value, list):
        return [_by_digest(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == PromptRef.model_fields.keys():
        tuned = PromptRef.model_validate(value).is_tuned_on_an_image
        return {"sha256": value["sha256"], "tuned": tuned}
    return {name: _by_digest(entry) for name, entry in value.items()}


class CertificationJob(Contract):
    """One image in the queue, with everything asked of it."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    batch_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    request: CertifyRequest
    submitted_at: datetime
    request_id: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="Of the HTTP request, for the log."
    )


class Progress(Contract):
    """Samples counted so far, over all noise levels."""

    samples_done: int = Field(ge=0)
    samples_total: int = Field(ge=1)
    updated_at: datetime


class Identity(Contract):
    """Which f ran: what moves logits, and therefore which votes may be added together."""

    model: ModelRef
    architecture: str
    precision: str
    device_class: str
    device: str
    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    tau: float = Field(ge=0)
    versions: dict[str, str]


class Failure(Contract):
    """Why a certification ended without certificates: a stable code and a sentence."""

    code: str
    detail: str


class ModelState(Contract):
    """A model on one worker host.

    `ready`: it votes at once. `loading`: sessions wait for it. `present`: its files are there, and
    it is loaded when a session asks for it. `missing`: files are not there. `unusable`: it was
    tried, or can be seen, that it cannot be loaded; `detail` says why.
    """

    model: ModelRef
    state: Literal["ready", "loading", "present", "missing", "unusable"]
    memory_bytes: int = Field(default=0, ge=0)
    missing_files: tuple[str, ...] = ()
    detail: str = ""

    @property
    def can_serve(self) -> bool:
        """Whether a job for the model would be served here, now or after loading it."""
        return self.state in ("ready", "loading", "present")


HostState = Literal["starting", "ready", "draining", "drained", "broken"]
"""`starting`: the engine loads. `ready`: it takes jobs. `draining`: it takes no more and hands back
what runs. `drained`: nothing runs there. `broken`: the engine keeps ending; `detail` says more."""


class EngineFigures(Contract):
    """What an engine has done since it started, and the memory of its device."""

    batches: int = Field(default=0, ge=0)
    rows: int = Field(default=0, ge=0, description="Rows that batches had room for.")
    samples: int = Field(default=0, ge=0, description="Rows that were somebody's samples.")
    batch_s: float = Field(default=0.0, ge=0, description="Seconds spent in batches.")
    device_memory_bytes: int = Field(default=0, ge=0)


class WorkerReport(Contract):
    """A worker host as it announces itself, every few seconds.

    `ready`: it takes jobs. `models` are those that vote at once; `states` has all that the host
    knows, and is None where the host does not say.
    """

    name: str
    started_at: datetime
    ready: bool
    key_commitment: str
    models: tuple[Identity, ...] = ()
    samples_per_s: dict[str, float] = {}
    states: tuple[ModelState, ...] | None = None
    state: HostState | None = None
    detail: str = ""
    rq_workers: int = Field(default=8, ge=1, description="Jobs that share the engine at a time.")
    restarts: dict[str, int] = Field(default={}, description="Of each child process, so far.")
    figures: EngineFigures | None = None

    @property
    def shown_state(self) -> HostState:
        """The state, of a host of an earlier release too."""
        return self.state or ("ready" if self.ready else "starting")
