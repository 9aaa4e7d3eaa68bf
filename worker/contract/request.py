"""What crosses Redis between app and worker: jobs in, progress and results out.

Every value is frozen and checked when made; an object that exists is valid. Numbers that decide
noise (sigma, alpha) travel as the decimal that was written, so that no binary rounding lies
between the request and the certificate.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import Field, model_validator

from models.catalogue.cards import Sha256
from worker.contract.quantities import (
    Alpha,
    Contract,
    NoiseLevels,
    Radius,
    Samples,
    Tolerance,
)
from worker.contract.targets import (
    MAX_TARGETS,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    Target,
    TunedTarget,
    ZeroShotTarget,
)

SCHEMA_VERSION = 1
QUEUE_NAME = "certify"
TASK_CERTIFY = "worker.tasks.certify_image"
TASK_COUNT_RANGES = "worker.tasks.count_ranges"
LEARNING_QUEUE_NAME = "learn"
TASK_LEARN = "worker.tasks.learn"
TASK_LEARN_BEFORE = "worker.learning.learn"  # in jobs that an earlier release queued
TASKS = frozenset({TASK_CERTIFY, TASK_COUNT_RANGES, TASK_LEARN, TASK_LEARN_BEFORE})

ANONYMOUS = "anonymous"
"""The owner of what was sent while no keys were configured."""

Owner = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
"""The id of an API key, never the key."""


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
    """One image in the queue, with everything asked of it.

    `owner` is who may see it. It is no part of the request: who asks changes no certificate.
    `image_index` says which of the images that were sent together this one is.
    """

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    batch_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    owner: Owner = ANONYMOUS
    image_index: int = Field(default=0, ge=0)
    request: CertifyRequest
    submitted_at: datetime
    request_id: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="Of the HTTP request, for the log."
    )


class RefusedImage(Contract):
    """An image of a batch that could not be used; the others are certified."""

    image_index: int = Field(ge=0)
    status: int
    code: str
    detail: str
    frames: int | None = None


class LiveVotes(Contract):
    """The votes of one certificate so far, to be watched while it is counted. Not a claim.

    The bounds are one-sided Clopper-Pearson at the certificate's alpha, as if these votes were all
    there ever will be: of somebody who looks at many moments, one can be false far more often than
    alpha says. The certificate's own bounds are made at planned looks alone, and divide alpha
    among them.
    """

    sigma: float
    prompting: str
    target_index: int = Field(ge=0, description="Which of the request's label sets, from 0.")
    n: int = Field(ge=0, description="Samples so far, ambiguous ones included.")
    counts: tuple[int, ...]
    ambiguous: int = Field(ge=0)
    p_a_lower: float = Field(ge=0, le=1, description="Of the class with the most votes so far.")
    p_b_upper: float = Field(ge=0, le=1, description="Of every other class.")


class Progress(Contract):
    """Samples counted so far, over all noise levels, and the votes of each certificate."""

    samples_done: int = Field(ge=0)
    samples_total: int = Field(ge=1)
    updated_at: datetime
    live: tuple[LiveVotes, ...] = ()


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
    samples_per_s: dict[str, float] = Field(default_factory=dict)
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


def canonical_bytes(request: dict[str, Any]) -> bytes:
    """RFC 8785 form of a request: equal requests are equal bytes, whatever their spelling."""
    return rfc8785.dumps(request)
