"""The certificate as a document: what a lab keeps, quotes and has audited.

Built from counts and nothing else, every figure rounded so that none overstates.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainSerializer, Tag

from models.cards import ClassNames, Sha256, Template
from worker.certification import (
    Abstained,
    Certified,
    Looks,
    Outcome,
    Phase,
    Procedure,
    Staged,
    StopReason,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
)
from worker.contract import (
    MAX_SIGMAS,
    MAX_TARGETS,
    Alpha,
    CertifyRequest,
    Contract,
    Failure,
    InputImage,
    ModelRef,
    Radius,
    Samples,
    Sigma,
    StagedParameters,
    Target,
    Tolerance,
)

GuaranteeScope = Literal["global_prompt"]

_AsNumber = PlainSerializer(float, return_type=float, when_used="json")
Figure = Annotated[Decimal, _AsNumber]
SigmaFigure = Annotated[Sigma, _AsNumber]
AlphaFigure = Annotated[Alpha, _AsNumber]
RadiusFigure = Annotated[Radius, _AsNumber]


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


class _Certificate(Contract):
    prompting: Literal["template"]
    template: Template
    class_names: Annotated[ClassNames, Field(max_length=100)]
    sigma: SigmaFigure
    alpha: AlphaFigure
    joint: bool
    certificates_in_request: int = Field(ge=1)
    n_used: int = Field(ge=1)
    p_a_lower: Probability
    p_b_upper: Probability
    votes_root: dict[Phase, Sha256] = Field(
        description="By phase, the Merkle root (RFC 6962, SHA-256) over the votes of its samples."
    )
    guarantee_scope: GuaranteeScope
    attempts: int = Field(ge=1)
    statement: str


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


class LookCounts(Contract):
    """Cumulative votes at one look."""

    n: Samples
    counts: Counts
    ambiguous: Ambiguous


class _StagedEvidence(Contract):
    procedure: Literal["staged"] = "staged"
    n_max: Samples
    target_radius: RadiusFigure | None
    tolerance: Annotated[Tolerance, _AsNumber]
    minimum_radius: RadiusFigure | None
    looks: Annotated[tuple[LookCounts, ...], Field(min_length=1, max_length=64)]
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


NoiseKeyText = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Provenance(Contract):
    """What ran: enough to run it again, and to refuse adding votes of another f.

    `noise_keys` are the keys of this request alone, by phase, 128 bits in hexadecimal. They say
    nothing about the secret or any other request, and came into use after the image was fixed.
    """

    sampler: Literal["philox4x64-10/rounded-gaussian-255/1"]
    key_commitment: Sha256
    noise_keys: dict[Phase, NoiseKeyText]
    table_sha256: dict[str, Sha256]
    precision: str
    device_class: str
    device: str
    threads: int
    batch_size: int
    tau: float
    versions: dict[str, str]


class Signature(Contract):
    """Ed25519 over the canonical JSON (RFC 8785) of the signed fields."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str = Field(description="32 bytes in base64; compare with GET /keys/signing.")
    value: str = Field(description="64 bytes in base64.")


class FinishedResult(Contract):
    """The certificates of one image, one per noise level and label set."""

    status: Literal["finished"] = "finished"
    schema_version: Literal[1] = 1
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


CertificationResult = Annotated[FinishedResult | FailedResult, Field(discriminator="status")]


def create_certificate(
    request: CertifyRequest,
    target: Target,
    sigma: Decimal,
    *,
    procedure: Procedure,
    looks: Looks,
    roots: Mapping[str, str],
    attempts: int,
) -> CertifiedDocument | AbstainedDocument:
    """The document of what the looks prove, its figures rounded down."""
    outcome = procedure.decide(looks, sigma=float(sigma))
    fields = {
        **_common(request, target, sigma, outcome, looks, attempts),
        "votes_root": dict(roots),
        **_evidence(request, procedure, looks, float(sigma)),
    }
    staged = isinstance(procedure, Staged)
    made: CertifiedDocument | AbstainedDocument
    if isinstance(outcome, Abstained):
        fields |= {
            "closest_class": target.class_names[outcome.top_class],
            "closest_class_index": outcome.top_class,
            "statement": "",
        }
        made = AbstainedByStaged(**fields) if staged else AbstainedByCohen(**fields)
    else:
        fields |= _claimed(request, target, outcome)
        made = CertifiedByStaged(**fields) if staged else CertifiedByCohen(**fields)
    return made.model_copy(update={"statement": create_statement(made, request.input)})


def _common(
    request: CertifyRequest,
    target: Target,
    sigma: Decimal,
    outcome: Outcome,
    looks: Looks,
    attempts: int,
) -> dict[str, Any]:
    return {
        "prompting": target.prompting,
        "template": target.template,
        "class_names": target.class_names,
        "sigma": sigma,
        "alpha": request.alpha,
        "joint": request.joint,
        "certificates_in_request": request.certificates_asked,
        "n_used": sum(made[-1].n for made in looks.values() if made),
        "p_a_lower": bound_rounded_down(outcome.p_a_lower),
        "p_b_upper": bound_rounded_up(outcome.p_b_upper),
        "guarantee_scope": "global_prompt",
        "attempts": attempts,
    }


def _evidence(
    request: CertifyRequest, procedure: Procedure, looks: Looks, sigma: float
) -> dict[str, Any]:
    """The counts, and every parameter that turns them into the outcome."""
    asked = request.procedure
    if isinstance(procedure, Staged) and isinstance(asked, StagedParameters):
        return {
            **asked.model_dump(exclude={"procedure"}),
            "looks": tuple(
                LookCounts(n=look.n, counts=look.counts, ambiguous=look.ambiguous)
                for look in looks["estimation"]
            ),
            "stopped_by": procedure.find_reason(looks, sigma=sigma),
            "contradiction": procedure.alarms(looks, sigma=sigma),
        }
    (selection,), (estimation,) = looks["selection"], looks["estimation"]
    return {
        "n0": selection.n,
        "n": estimation.n,
        "counts_selection": selection.counts,
        "ambiguous_selection": selection.ambiguous,
        "counts_estimation": estimation.counts,
        "ambiguous": estimation.ambiguous,
    }


def _claimed(request: CertifyRequest, target: Target, outcome: Certified) -> dict[str, Any]:
    aids = reading_aids(outcome.radius, dimension=3 * request.input.height * request.input.width)
    return {
        "prediction": target.class_names[outcome.top_class],
        "class_index": outcome.top_class,
        "radius": aids.radius,
        "radius_grey": aids.radius_grey,
        "norms": Norms(l1=aids.radius, linf=aids.linf),
        "grey_levels": GreyLevels(
            one_channel_of_one_pixel=aids.one_channel_levels,
            one_pixel=aids.one_pixel_levels,
            every_pixel=aids.every_pixel_levels,
        ),
        "statement": "",
    }


def create_statement(
    certificate: CertifiedDocument | AbstainedDocument, described: InputImage
) -> str:
    """The certificate in sentences, with its scope and limits; a function of its other fields."""
    noise = (
        f"Gaussian noise of standard deviation {certificate.sigma:f}, in pixels scaled to [0, 1],"
    )
    if isinstance(certificate, CertifiedDocument):
        said = (
            f"With confidence {_confidence(certificate)} over the service's own sampling, the "
            f"classifier smoothed with {noise} predicts '{certificate.prediction}' for every 8-bit "
            f"image of {described.width} x {described.height} pixels in three channels within l2 "
            f"distance {certificate.radius:f} of this one."
        )
    elif getattr(certificate, "contradiction", False):
        said = (
            f"Two looks at the classifier smoothed with {noise} claimed different classes, so one "
            "of them was false: no class is predicted at this noise level."
        )
    else:
        said = (
            f"The classifier smoothed with {noise} was not constant enough for a claim at "
            f"confidence {_confidence(certificate)}: no class is predicted at this noise level."
        )
    return f"{said} {_scope(certificate.attempts)}"


def _confidence(certificate: _Certificate) -> str:
    confidence = f"{1 - certificate.alpha:f}"
    if not certificate.joint:
        return confidence
    together = certificate.certificates_in_request
    return f"{confidence}, for all {together} certificates of this request together,"


def _scope(attempts: int) -> str:
    rolls = (
        "This is the first attempt on this image on record."
        if attempts == 1
        else f"This is attempt {attempts} on this image on record: that some certificate among "
        "them is false has probability at most the sum of their alphas."
    )
    return (
        "It covers everything from the image at the model's resolution on, provided that model, "
        "prompt, classes and noise level were fixed before the image was seen; it does not say "
        f"that the class is the right diagnosis. {rolls} Research use only."
    )
