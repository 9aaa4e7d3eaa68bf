"""What HTTP shows. Every value is frozen; certificates are shown as they were stored."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal, Self

from pydantic import Field

from app.request.goal import Goal
from models.catalogue.cards import Evaluation, ModelCard, Preprocessing, TrainingSet
from worker.contract import (
    CertificationJob,
    CertifyRequest,
    Contract,
    Failure,
    FewShotTarget,
    FewShotZeroShotTarget,
    HostState,
    InputImage,
    LiveVotes,
    ModelRef,
    RefusedImage,
    WorkerReport,
)
from worker.contract.certificate.document import (
    CertificateDocument,
    Prompting,
    Provenance,
    Signature,
)
from worker.contract.certificate.series import JointDocument


class Schema(Contract):
    """Base of everything that HTTP shows."""


class FieldError(Schema):
    """One field of a request and what is expected of it; never what came."""

    field: str
    detail: str


class HostShown(Schema):
    """What a worker host does now: starting, ready, draining, drained or broken."""

    name: str
    state: HostState
    detail: str = ""


def show_host(report: WorkerReport) -> HostShown:
    """A worker host as it announced itself."""
    return HostShown(name=report.name, state=report.shown_state, detail=report.detail)


class ProblemDocument(Schema):
    """An RFC 9457 problem. `code` is stable: programs branch on it, people read `detail`."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: tuple[FieldError, ...] = ()
    known: tuple[str, ...] = Field(default=(), description="Ids that there are.")
    missing: tuple[str, ...] = Field(default=(), description="What certifying lacks.")
    image_index: int | None = Field(default=None, description="Which image, from 0.")
    frames: int | None = Field(default=None, description="How many frames that image holds.")
    hosts: tuple[HostShown, ...] = Field(default=(), description="What each worker host does.")


class CertificationLinks(Schema):
    """Where the rest is."""

    self: str
    input_image: str = Field(description="The certified 8-bit image as PNG, while it is stored.")
    events: str = Field(description="Its progress as server-sent events.")


_ESTIMATE = (
    "Seconds until it is done if everything before it, and it itself, takes all its samples; they "
    "stop earlier as a rule. From the speed that worker hosts measured; null: not known."
)


class SampleProgress(Schema):
    """Noisy copies classified so far, over all noise levels.

    `live` is there to be watched and claims nothing: its bounds are one-sided Clopper-Pearson over
    the samples so far, not those of the certificate, which are made at planned looks alone.
    """

    samples_done: int
    samples_total: int
    live: tuple[LiveVotes, ...] = ()


class ProgressEvent(SampleProgress):
    """How far a certification is, as an event of `GET /certifications/{id}/events`."""

    status: Literal["queued", "running", "finished", "failed", "cancelled"]
    queue_position: int | None = Field(description="1: next; null: not in the queue.")
    estimated_s: float | None = Field(description=_ESTIMATE)


class _Certification(Schema):
    id: str
    status: Literal["queued", "running", "finished", "failed", "cancelled"]
    batch_id: str | None
    image_index: int = Field(description="Which of the images sent together, from 0.")
    submitted_at: datetime
    model: ModelRef
    input: InputImage
    continues: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="The id of the certification whose samples this one goes on from.",
    )
    reference: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="What its sender calls it. Not signed: it is no part of the certificate.",
    )
    note: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Says the largest radius that can be proved, where that is less than asked.",
    )
    links: CertificationLinks


class AskedTarget(Schema):
    """One label set and what it is compared with."""

    prompting: Prompting
    prompt: str | None = Field(description="The id of a stored prompt; null: none, or a bank.")
    class_names: tuple[str, ...] = Field(description="What `counts` of votes are in the order of.")


class Asked(Schema):
    """What a certification that has not ended was asked: one certificate for each level and target.

    `targets` are in the order that `target_index` of live votes counts in.
    """

    sigmas: tuple[float, ...]
    targets: tuple[AskedTarget, ...]


class QueuedCertification(_Certification):
    """Accepted; a worker will take it."""

    status: Literal["queued"] = "queued"
    asked: Asked
    queue_position: int | None = Field(default=None, description="1: next; null: not known.")
    estimated_s: float | None = Field(default=None, description=_ESTIMATE)


class RunningCertification(_Certification):
    """A worker is at it."""

    status: Literal["running"] = "running"
    asked: Asked
    progress: SampleProgress
    estimated_s: float | None = Field(default=None, description=_ESTIMATE)


class FinishedCertification(_Certification):
    """Done: per noise level, from the smallest, a certificate or an abstention."""

    status: Literal["finished"] = "finished"
    schema_version: Literal[1, 2]
    certificates: tuple[CertificateDocument, ...]
    provenance: Provenance
    research_use_only: Literal[True] = True
    goal: Goal | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Yes or no, where the request named a `target_radius`. Not signed: it follows "
        "from the certificates.",
    )
    signature: Signature | None


class FailedCertification(_Certification):
    """Ended without certificates. That says nothing about the image's class."""

    status: Literal["failed"] = "failed"
    failure: Failure


class CancelledCertification(_Certification):
    """Somebody wished it to end. That says nothing about the image's class.

    If counting had begun, it stays counted among the attempts at this image.
    """

    status: Literal["cancelled"] = "cancelled"


Certification = Annotated[
    QueuedCertification
    | RunningCertification
    | FinishedCertification
    | FailedCertification
    | CancelledCertification,
    Field(discriminator="status"),
]


class BatchLinks(Schema):
    """Where the batch is."""

    self: str


class RefusedProblem(Schema):
    """Why one of several images is not used: an RFC 9457 problem of that image alone."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    image_index: int = Field(description="Which of the images sent together, from 0.")
    frames: int | None = Field(default=None, description="How many the file has, if that is it.")

    @classmethod
    def of(cls, image: RefusedImage) -> Self:
        """The problem of a refused image."""
        return cls(title=HTTPStatus(image.status).phrase, **image.model_dump())


class Batch(Schema):
    """Several images sent together, in the order they were sent.

    Each image is a certification, or a problem that says why it is none. Those that were purged
    are not shown any more.
    """

    id: str
    done: int = Field(description="Images of which nothing more will be said.")
    total: int = Field(description="Images that are shown here.")
    certifications: tuple[Certification, ...]
    refused: tuple[RefusedProblem, ...] = ()
    joint_batch: tuple[JointDocument, ...] = Field(
        default=(),
        exclude_if=lambda found: not found,
        description="For each noise level and label set, what holds for all images together, by "
        "counting. Left out unless the request was joint and every image has ended.",
    )
    links: BatchLinks


class ModelOnHost(Schema):
    """A model on one worker host.

    `ready`: it votes at once. `loading`: requests wait for it. `present`: its files are there, and
    it is loaded when a request names it. `missing`: files are not there. `unusable`: it cannot be
    loaded; `detail` says why.
    """

    name: str
    state: Literal["ready", "loading", "present", "missing", "unusable"]
    memory_bytes: int = Field(description="Parameters and buffers on the device; 0: not loaded.")
    missing_files: tuple[str, ...]
    detail: str


class ModelView(Schema):
    """A model as its card describes it, and what the worker hosts say of it now."""

    id: str
    name: str
    description: str
    intended_use: str
    licence: str
    source: str
    citations: tuple[str, ...]
    training_data: tuple[TrainingSet, ...]
    architecture: str
    sha256: str
    weights_sha256: str = Field(description="What a learned prompt is bound to.")
    class_names: tuple[str, ...]
    template: str
    preprocessing: Preprocessing
    evaluation: tuple[Evaluation, ...]
    default: bool
    ready_on: tuple[str, ...]
    hosts: tuple[ModelOnHost, ...]


class KnownModel(Schema):
    """A model that is described here and whose weights were never added."""

    id: str
    name: str
    description: str
    licence: str
    source: str


class ModelNotUsable(Schema):
    """A model that is not served, because its card on this host is not valid."""

    id: str
    detail: str


class ModelList(Schema):
    """The models of this installation, by id, those that wait for their weights, and bad cards."""

    models: tuple[ModelView, ...]
    not_added: tuple[KnownModel, ...]
    not_valid: tuple[ModelNotUsable, ...] = ()


class Alive(Schema):
    """The process answers; nothing else is said."""

    status: Literal["alive"] = "alive"


class Ready(Schema):
    """A request to the default model would be certified now."""

    status: Literal["ready"] = "ready"
    default_model: str
    workers: tuple[str, ...]
    hosts: tuple[HostShown, ...] = ()


class Version(Schema):
    """Which release answers."""

    service: Literal["promptsmooth-service"] = "promptsmooth-service"
    version: str
    schema_version: int


def asked(request: CertifyRequest) -> Asked:
    """What was requested, shown until the result is there."""
    targets = tuple(
        AskedTarget(
            prompting=target.prompting,
            prompt=target.prompt.id
            if isinstance(target, FewShotTarget | FewShotZeroShotTarget)
            else None,
            class_names=target.class_names,
        )
        for target in request.targets
    )
    return Asked(sigmas=tuple(map(float, request.sigmas)), targets=targets)


def certification_links(job: CertificationJob) -> CertificationLinks:
    """The links of a certification."""
    path = f"/certifications/{job.id}"
    return CertificationLinks(self=path, input_image=f"{path}/input.png", events=f"{path}/events")


def model_view(
    card: ModelCard, *, default: bool, ready_on: tuple[str, ...], hosts: tuple[ModelOnHost, ...]
) -> ModelView:
    """What a card publishes: everything but its files and shapes."""
    shown = ModelView.model_fields.keys() & ModelCard.model_fields.keys()
    facts = {name: getattr(card, name) for name in shown}
    return ModelView(
        **facts,
        sha256=card.sha256,
        weights_sha256=card.weights_sha256,
        default=default,
        ready_on=ready_on,
        hosts=hosts,
    )


class SigningKey(Schema):
    """The public key that certificates of this service are signed with."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str = Field(description="32 bytes in base64.")
