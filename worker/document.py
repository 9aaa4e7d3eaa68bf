"""The certificate as a document: what a lab keeps, quotes and has audited.

Built from counts and nothing else, every figure rounded so that none overstates.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainSerializer, Tag

from worker.certification import (
    Abstained,
    Certified,
    Looks,
    Outcome,
    Procedure,
    Staged,
    StopReason,
    bound_rounded_down,
    bound_rounded_up,
    reading_aids,
)
from worker.contract import (
    Alpha,
    CertifyRequest,
    Contract,
    Failure,
    InputImage,
    ModelRef,
    Radius,
    Sigma,
    StagedParameters,
    Target,
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


class _Certificate(Contract):
    prompting: Literal["template"]
    template: str
    class_names: tuple[str, ...]
    sigma: SigmaFigure
    alpha: AlphaFigure
    joint: bool
    certificates_in_request: int = Field(ge=1)
    n_used: int
    p_a_lower: Figure
    p_b_upper: Figure
    votes_root: dict[str, str] = Field(
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
    radius: Figure
    radius_grey: Figure
    norms: Norms
    grey_levels: GreyLevels


class AbstainedDocument(_Certificate):
    """No claim at this noise level. That is an answer, neither a class nor an error."""

    outcome: Literal["abstained"] = "abstained"
    closest_class: str
    closest_class_index: int


class _CohenEvidence(Contract):
    procedure: Literal["cohen"] = "cohen"
    n0: int
    n: int
    counts_selection: tuple[int, ...]
    ambiguous_selection: int
    counts_estimation: tuple[int, ...]
    ambiguous: int


class LookCounts(Contract):
    """Cumulative votes at one look."""

    n: int
    counts: tuple[int, ...]
    ambiguous: int


class _StagedEvidence(Contract):
    procedure: Literal["staged"] = "staged"
    n_max: int
    target_radius: RadiusFigure | None
    tolerance: Figure
    minimum_radius: RadiusFigure | None
    looks: tuple[LookCounts, ...]
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

    sampler: str
    key_commitment: str
    noise_keys: dict[str, NoiseKeyText]
    table_sha256: dict[str, str]
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
    certificates: tuple[CertificateDocument, ...]
    provenance: Provenance
    research_use_only: Literal[True] = True
    signature: Signature | None = None


class FailedResult(Contract):
    """A certification that ended without certificates, for a reason that would come again."""

    status: Literal["failed"] = "failed"
    schema_version: Literal[1] = 1
    failure: Failure


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
    if isinstance(outcome, Abstained):
        fields |= {
            "closest_class": target.class_names[outcome.top_class],
            "closest_class_index": outcome.top_class,
            "statement": _abstention(request, sigma, attempts),
        }
        return AbstainedByStaged(**fields) if staged else AbstainedByCohen(**fields)
    fields |= _claimed(request, target, sigma, outcome, attempts)
    return CertifiedByStaged(**fields) if staged else CertifiedByCohen(**fields)


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


def _claimed(
    request: CertifyRequest, target: Target, sigma: Decimal, outcome: Certified, attempts: int
) -> dict[str, Any]:
    aids = reading_aids(outcome.radius, dimension=3 * request.input.height * request.input.width)
    prediction = target.class_names[outcome.top_class]
    return {
        "prediction": prediction,
        "class_index": outcome.top_class,
        "radius": aids.radius,
        "radius_grey": aids.radius_grey,
        "norms": Norms(l1=aids.radius, linf=aids.linf),
        "grey_levels": GreyLevels(
            one_channel_of_one_pixel=aids.one_channel_levels,
            one_pixel=aids.one_pixel_levels,
            every_pixel=aids.every_pixel_levels,
        ),
        "statement": _claim(request, sigma, aids.radius, prediction, attempts),
    }


def _claim(
    request: CertifyRequest, sigma: Decimal, radius: Decimal, top_name: str, attempts: int
) -> str:
    size = f"{request.input.width} x {request.input.height}"
    return (
        f"With confidence {_confidence(request)} over the service's own sampling, the classifier "
        f"smoothed with Gaussian noise of standard deviation {sigma:f} predicts '{top_name}' for "
        f"every 8-bit image of {size} pixels in three channels within l2 distance {radius} of "
        f"this one, in pixels scaled to [0, 1]. {_scope(attempts)}"
    )


def _abstention(request: CertifyRequest, sigma: Decimal, attempts: int) -> str:
    return (
        f"The classifier smoothed with Gaussian noise of standard deviation {sigma:f} was not "
        f"constant enough for a claim at confidence {_confidence(request)}: no class is predicted "
        f"at this noise level. {_scope(attempts)}"
    )


def _confidence(request: CertifyRequest) -> str:
    together = request.certificates_asked
    if not request.joint:
        return f"{1 - request.alpha:f}"
    return f"{1 - request.alpha:f}, for all {together} certificates of this request together,"


def _scope(attempts: int) -> str:
    rolls = (
        "This is the first attempt on this image on record."
        if attempts == 1
        else f"This is attempt {attempts} on this image on record: that some attempt among them is "
        f"false has probability at most {attempts} times alpha."
    )
    return (
        "It covers everything from the image at the model's resolution on, with model, prompt, "
        "classes and noise level fixed before the image was seen; it does not say that the "
        f"class is the right diagnosis. {rolls} Research use only."
    )
