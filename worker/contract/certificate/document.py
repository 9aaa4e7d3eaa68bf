"""The certificate as a document: what a lab keeps, quotes and has audited.

Built from counts and nothing else, every figure rounded so that none overstates.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PlainSerializer, Tag, model_validator

from models.catalogue.cards import Sha256
from models.catalogue.texts import Template
from worker.certification import Phase, StopReason, Tally
from worker.contract.job import Failure
from worker.contract.quantities import (
    MAX_SIGMAS,
    Alpha,
    Contract,
    Radius,
    Samples,
    Sigma,
    Tolerance,
)
from worker.contract.request import InputImage, ModelRef
from worker.contract.targets import MAX_TARGETS, Bank, Labels, PromptRef, Tuning

Prompting = Literal["template", "few-shot", "zero-shot", "few-shot+zero-shot", "routed"]
GuaranteeScope = Literal["global_prompt", "frozen_prompt", "routed_pipeline", "joint_pipeline"]
"""What a certificate covers (CERTIFICATE 5). No certificate of this version is `joint_pipeline`."""

_AsNumber = PlainSerializer(float, return_type=float, when_used="json")
Figure = Annotated[Decimal, _AsNumber]
SigmaFigure = Annotated[Sigma, _AsNumber]
AlphaFigure = Annotated[Alpha, _AsNumber]
RadiusFigure = Annotated[Radius, _AsNumber]

BallotName = Literal["prediction", "selector"]
"""What was voted on: the class, or the prompt to use."""


class Norms(Contract):
    """Radii in other norms that the l2 ball contains: l1 is R, linf is R / sqrt(d)."""

    l1: Figure
    linf: Figure


class GreyLevels(Contract):
    """How many of 255 grey levels may change, by fewer than this, without leaving the l2 ball."""

    one_channel_of_one_pixel: Figure
    one_pixel: Figure
    every_pixel: Figure


Counts = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2, max_length=100)]
Ambiguous = Annotated[int, Field(ge=0)]
Probability = Annotated[Decimal, Field(ge=0, le=1), _AsNumber]
Length = Annotated[Decimal, Field(ge=0), _AsNumber]


def _optional(description: str) -> Any:
    """A field that is left out when it is None: some promptings or older certificates lack it."""
    return Field(
        default=None,
        exclude_if=lambda value: value is None,
        description=description,
        json_schema_extra=_say_without_null,
    )


def _say_without_null(schema: dict[str, Any]) -> None:
    """Describes the field as it is sent: never as null."""
    variants = [one for one in schema.pop("anyOf") if one != {"type": "null"}]
    schema.update(variants[0])
    schema.pop("default", None)


class LookCounts(Contract):
    """Cumulative votes at one look."""

    n: Samples
    counts: Counts
    ambiguous: Ambiguous

    @classmethod
    def of(cls, tally: Tally) -> "LookCounts":
        return cls(n=tally.n, counts=tally.counts, ambiguous=tally.ambiguous)

    @property
    def tally(self) -> Tally:
        """The votes, as procedures take them."""
        return Tally(counts=self.counts, ambiguous=self.ambiguous)


Roots = Annotated[
    dict[Phase, Sha256],
    Field(description="By phase, the Merkle root (RFC 6962, SHA-256) over the samples' votes."),
]
LooksMade = Annotated[tuple[LookCounts, ...], Field(min_length=1, max_length=64)]


class Adaptation(Tuning):
    """How the prompt was tuned on the image, and the entropy of the copies before and after.

    Nats; `seconds` is the tuning alone, without the image tower's passes over the copies.
    """

    entropy_before: float
    entropy_after: float
    seconds: float


class Selector(Contract):
    """The certificate of the choice among a bank's prompts, at half of alpha."""

    outcome: Literal["certified", "abstained"]
    radius: Length | None = _optional("Within it, in l2, the same prompt is chosen.")
    p_a_lower: Probability
    p_b_upper: Probability
    looks: LooksMade
    stopped_by: StopReason
    contradiction: bool
    votes_root: Roots


class Routing(Contract):
    """The bank, and the prompt that was chosen (or came closest); votes are in the bank's order."""

    bank: Bank
    selected_index: int = Field(ge=0)
    selector: Selector

    @model_validator(mode="after")
    def _check_selected(self) -> Self:
        if self.selected_index >= len(self.bank):
            raise ValueError("the prompt chosen is one of the bank's")
        return self


_FIELDS: dict[Prompting, frozenset[str]] = {
    "template": frozenset({"template"}),
    "few-shot": frozenset({"prompt"}),
    "zero-shot": frozenset({"template", "prompt", "adaptation"}),
    "few-shot+zero-shot": frozenset({"started_from", "prompt", "adaptation"}),
    "routed": frozenset({"routing"}),
}


class _Certificate(Contract):
    prompting: Prompting
    template: Template | None = _optional("The sentence used, or that tuning started from.")
    prompt: PromptRef | None = _optional("The prompt that is certified; GET /prompts/{id} has it.")
    started_from: PromptRef | None = _optional("The prompt that tuning started from.")
    adaptation: Adaptation | None = _optional("How the prompt was tuned on this image.")
    routing: Routing | None = _optional("How one prompt of a bank was chosen.")
    learned_on_this_image: Literal[True] | None = _optional(
        "A prompt that the request names was learned on this very image, its label included."
    )
    class_names: Labels
    sigma: SigmaFigure
    alpha: AlphaFigure
    joint: bool
    certificates_in_request: int = Field(ge=1)
    n_used: int = Field(ge=1)
    p_a_lower: Probability
    p_b_upper: Probability
    votes_root: Roots
    guarantee_scope: GuaranteeScope
    attempts: int = Field(ge=1)
    alpha_of_attempts: Annotated[Decimal, Field(gt=0), _AsNumber] | None = _optional(
        "The sum of alpha over all certificates of this image's attempts up to this one."
    )
    statement: str

    @model_validator(mode="after")
    def _check_prompting(self) -> Self:
        every = frozenset().union(*_FIELDS.values())
        given = {name for name in every if getattr(self, name) is not None}
        if given != _FIELDS[self.prompting]:
            raise ValueError(f"a certificate by {self.prompting} has {_FIELDS[self.prompting]}")
        learned = bool(self.learned_on_this_image)
        if self.guarantee_scope != find_scope(self.prompting, self.prompt, learned=learned):
            raise ValueError("the guarantee scope is not that of the prompting")
        return self


def find_scope(
    prompting: Prompting, prompt: PromptRef | None, *, learned: bool = False
) -> GuaranteeScope:
    """What a certificate covers, by what its prompt depended on (CERTIFICATE 5).

    A stored prompt that was once tuned on an image stays a function of that image, under whatever
    prompting it is used. So is one that was `learned` on it, and a bank with such a prompt.
    """
    if learned:
        return "frozen_prompt"
    if prompting == "routed":
        return "routed_pipeline"
    if prompt is not None and prompt.is_tuned_on_an_image:
        return "frozen_prompt"
    return "global_prompt"


class CertifiedDocument(_Certificate):
    """A class, and the l2 radius within which the smoothed classifier keeps it."""

    outcome: Literal["certified"] = "certified"
    prediction: str
    class_index: int
    radius: Length
    radius_grey: Length
    norms: Norms
    grey_levels: GreyLevels


class AbstainedDocument(_Certificate):
    """No claim at this noise level. That is an answer, neither a class nor an error."""

    outcome: Literal["abstained"] = "abstained"
    closest_class: str
    closest_class_index: int


class _CohenEvidence(Contract):
    procedure: Literal["cohen"] = "cohen"
    n0: Samples
    n: Samples
    counts_selection: Counts
    ambiguous_selection: Ambiguous
    counts_estimation: Counts
    ambiguous: Ambiguous


class _StagedEvidence(Contract):
    procedure: Literal["staged"] = "staged"
    n_max: Samples
    target_radius: RadiusFigure | None
    tolerance: Annotated[Tolerance, _AsNumber]
    minimum_radius: RadiusFigure | None
    n_cap: Samples | None = _optional(
        "The request may go on up to so many samples; alpha is divided over all looks up to there."
    )
    continuations: Annotated[int, Field(ge=1)] | None = _optional(
        "How often the request went on, on the samples of the certificates before this one."
    )
    looks: LooksMade
    stopped_by: StopReason
    contradiction: bool


class CertifiedByCohen(CertifiedDocument, _CohenEvidence):
    """A claim by the procedure of Cohen et al."""


class AbstainedByCohen(AbstainedDocument, _CohenEvidence):
    """An abstention of the procedure of Cohen et al."""


class CertifiedByStaged(CertifiedDocument, _StagedEvidence):
    """A claim by the staged procedure."""


class AbstainedByStaged(AbstainedDocument, _StagedEvidence):
    """An abstention of the staged procedure; `contradiction` says that two looks disagreed."""


def _kind(value: Any) -> str:
    """Outcome and procedure together say which document it is."""
    if isinstance(value, dict):
        return f"{value.get('outcome')} by {value.get('procedure')}"
    return f"{getattr(value, 'outcome', None)} by {getattr(value, 'procedure', None)}"


CertificateDocument = Annotated[
    Annotated[CertifiedByStaged, Tag("certified by staged")]
    | Annotated[AbstainedByStaged, Tag("abstained by staged")]
    | Annotated[CertifiedByCohen, Tag("certified by cohen")]
    | Annotated[AbstainedByCohen, Tag("abstained by cohen")],
    Discriminator(_kind),
]


def find_alpha(certificate: CertificateDocument) -> float:
    """The error probability of one claim of a certificate.

    A joint certificate has its share of alpha, and a routed one makes two claims.
    """
    together = certificate.certificates_in_request if certificate.joint else 1
    claims = 1 if certificate.routing is None else 2
    return float(certificate.alpha) / together / claims


NoiseKeyText = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class DisagreedSample(Contract):
    """A sample on which two hosts disagreed: it is ambiguous, whatever anybody counts again."""

    sigma: SigmaFigure
    phase: Phase
    ballot: int = Field(ge=0, description="Among all ballots of a noise level, in their order.")
    sample: int = Field(ge=0)


class Provenance(Contract):
    """What ran: enough to run it again, and to refuse adding votes of another f.

    `noise_keys` are the keys of this request alone, by phase, 128 bits in hexadecimal; that of
    `adaptation` made the copies that prompts were tuned on. They say nothing about the secret or
    any other request, and came into use after the image was fixed.
    """

    sampler: Literal["philox4x64-10/rounded-gaussian-255/1"]
    key_commitment: Sha256
    noise_keys: dict[Phase | Literal["adaptation"], NoiseKeyText]
    table_sha256: dict[str, Sha256]
    precision: str
    device_class: str
    device: str
    threads: int
    batch_size: int
    tau: float | None = Field(description="None: not measured. Zero is a measured zero.")
    versions: dict[str, str]
    fingerprint: Sha256 | None = _optional(
        "Digest of what f computes for a fixed batch: it names f by what it does."
    )
    alike: Annotated[
        tuple[Sha256, ...],
        Field(
            exclude_if=lambda found: not found,
            description="Fingerprints whose votes may be among these, because tau covers them.",
        ),
    ] = ()
    disagreements: Annotated[
        tuple[DisagreedSample, ...],
        Field(
            exclude_if=lambda found: not found,
            description="Samples that two hosts counted differently; each is ambiguous.",
        ),
    ] = ()


class Signature(Contract):
    """Ed25519 over the canonical JSON (RFC 8785) of the signed fields."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str = Field(description="32 bytes in base64; compare with GET /keys/signing.")
    value: str = Field(description="64 bytes in base64.")


DOCUMENT_VERSION: Literal[2] = 2
"""Of the documents that are written. Those of version 1 have no fingerprint; they are read too."""


class FinishedResult(Contract):
    """The certificates of one image, one per noise level and label set."""

    status: Literal["finished"] = "finished"
    schema_version: Literal[1, 2] = DOCUMENT_VERSION
    model: ModelRef
    input: InputImage
    certificates: Annotated[
        tuple[CertificateDocument, ...], Field(min_length=1, max_length=MAX_SIGMAS * MAX_TARGETS)
    ]
    provenance: Provenance
    research_use_only: Literal[True] = True
    signature: Signature | None = None


class FailedResult(Contract):
    """A certification that ended without certificates, for a reason that would come again."""

    status: Literal["failed"] = "failed"
    schema_version: Literal[1] = 1
    failure: Failure


class CancelledResult(Contract):
    """Somebody wished the certification to end. That says nothing about the image's class."""

    status: Literal["cancelled"] = "cancelled"
    schema_version: Literal[1] = 1


def parse_document(document: Mapping[str, Any]) -> FinishedResult:
    """A finished certification from parsed JSON, strictly; fields around it are ignored.

    Raises:
        ValueError: it is none of this version.
    """
    fields = {name: document[name] for name in FinishedResult.model_fields if name in document}
    try:
        return FinishedResult.model_validate_json(json.dumps(fields), strict=True)
    except (ValueError, RecursionError):
        raise ValueError("this is no finished certification of this version") from None


CertificationResult = Annotated[
    FinishedResult | FailedResult | CancelledResult, Field(discriminator="status")
]
