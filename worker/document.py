"""The certificate as a document: what a lab keeps, quotes and has audited.

Built from counts and nothing else, every figure rounded so that none overstates.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer

from worker.certification import (
    Abstained,
    Certified,
    Outcome,
    Phase,
    Tally,
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
    Sigma,
    Target,
)

GuaranteeScope = Literal["global_prompt"]

_AsNumber = PlainSerializer(float, return_type=float, when_used="json")
Figure = Annotated[Decimal, _AsNumber]
SigmaFigure = Annotated[Sigma, _AsNumber]
AlphaFigure = Annotated[Alpha, _AsNumber]


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
    procedure: Literal["cohen"]
    n0: int
    n: int
    n_used: int
    counts_selection: tuple[int, ...]
    ambiguous_selection: int
    counts_estimation: tuple[int, ...]
    ambiguous: int
    p_a_lower: Figure
    p_b_upper: Figure
    guarantee_scope: GuaranteeScope
    attempts: int = Field(ge=1)
    joint: Literal[False] = False
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


CertificateDocument = Annotated[
    CertifiedDocument | AbstainedDocument, Field(discriminator="outcome")
]


class Provenance(Contract):
    """What ran: enough to run it again, and to refuse adding votes of another f."""

    sampler: str
    key_commitment: str
    table_sha256: dict[str, str]
    precision: str
    device_class: str
    device: str
    threads: int
    batch_size: int
    tau: float
    versions: dict[str, str]


class FinishedResult(Contract):
    """The certificates of one image, one per noise level and label set."""

    status: Literal["finished"] = "finished"
    schema_version: Literal[1] = 1
    model: ModelRef
    input: InputImage
    certificates: tuple[CertificateDocument, ...]
    provenance: Provenance
    research_use_only: Literal[True] = True


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
    outcome: Outcome,
    tallies: Mapping[Phase, Tally],
    attempts: int,
) -> CertifiedDocument | AbstainedDocument:
    """The document of one outcome, its figures rounded down."""
    selection, estimation = tallies["selection"], tallies["estimation"]
    top_name = target.class_names[outcome.top_class]
    common = {
        "prompting": target.prompting,
        "template": target.template,
        "class_names": target.class_names,
        "sigma": sigma,
        "alpha": request.alpha,
        "procedure": request.procedure.procedure,
        "n0": selection.n,
        "n": estimation.n,
        "n_used": selection.n + estimation.n,
        "counts_selection": selection.counts,
        "ambiguous_selection": selection.ambiguous,
        "counts_estimation": estimation.counts,
        "ambiguous": estimation.ambiguous,
        "p_a_lower": bound_rounded_down(outcome.p_a_lower),
        "p_b_upper": bound_rounded_up(outcome.p_b_upper),
        "guarantee_scope": "global_prompt",
        "attempts": attempts,
    }
    match outcome:
        case Abstained(top_class=top_class):
            return AbstainedDocument(
                **common,
                closest_class=top_name,
                closest_class_index=top_class,
                statement=_abstention(request, sigma, attempts),
            )
        case Certified(top_class=top_class, radius=radius):
            d = 3 * request.input.height * request.input.width
            aids = reading_aids(radius, dimension=d)
            return CertifiedDocument(
                **common,
                prediction=top_name,
                class_index=top_class,
                radius=aids.radius,
                radius_grey=aids.radius_grey,
                norms=Norms(l1=aids.radius, linf=aids.linf),
                grey_levels=GreyLevels(
                    one_channel_of_one_pixel=aids.one_channel_levels,
                    one_pixel=aids.one_pixel_levels,
                    every_pixel=aids.every_pixel_levels,
                ),
                statement=_claim(request, sigma, aids.radius, top_name, attempts),
            )


def _claim(
    request: CertifyRequest, sigma: Decimal, radius: Decimal, top_name: str, attempts: int
) -> str:
    size = f"{request.input.width} x {request.input.height}"
    return (
        f"With confidence {1 - request.alpha} over the service's own sampling, the classifier "
        f"smoothed with Gaussian noise of standard deviation {sigma} predicts '{top_name}' for "
        f"every 8-bit image of {size} pixels in three channels within l2 distance {radius} of "
        f"this one, in pixels scaled to [0, 1]. {_scope(attempts)}"
    )


def _abstention(request: CertifyRequest, sigma: Decimal, attempts: int) -> str:
    return (
        f"The classifier smoothed with Gaussian noise of standard deviation {sigma} was not "
        f"constant enough for a claim at confidence {1 - request.alpha}: no class is predicted at "
        f"this noise level. {_scope(attempts)}"
    )


def _scope(attempts: int) -> str:
    rolls = (
        "This is the first attempt on this image."
        if attempts == 1
        else f"This is attempt {attempts} on this image: that some attempt among them is false "
        f"has probability at most {attempts} times alpha."
    )
    return (
        "It covers everything from the image at the model's resolution on, with model, prompt, "
        "classes and noise level fixed before the image was seen; it does not say that the "
        f"class is the right diagnosis. {rolls} Research use only."
    )
