"""A certification as a list shows it: the outcomes without the evidence behind them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.request.goal import find_goal
from app.server.answers.schemas import CertificationLinks, Schema, certification_links
from worker.contract import CertificationJob, ModelRef
from worker.contract.certificate import document


class _Listed(Schema):
    sigma: document.SigmaFigure
    prompting: document.Prompting


class ListedRadius(_Listed):
    """A class, and the l2 radius within which it is kept."""

    outcome: Literal["certified"] = "certified"
    prediction: str
    radius: document.Length


class ListedAbstention(_Listed):
    """No claim at this noise level."""

    outcome: Literal["abstained"] = "abstained"


class ListedGoal(Schema):
    """Whether the class holds up to a radius; "not shown" is no proof of the opposite."""

    radius: document.Length
    shown: bool


class CertificationItem(Schema):
    """A certification in a list; `links.self` has the rest."""

    id: str
    status: Literal["queued", "running", "finished", "failed", "cancelled"]
    batch_id: str | None
    submitted_at: datetime
    model: ModelRef
    sigmas: tuple[float, ...]
    outcomes: tuple[
        Annotated[ListedRadius | ListedAbstention, Field(discriminator="outcome")], ...
    ] = Field(
        default=(),
        description="What its certificates say, in their order; empty unless it is finished. "
        "Quote the certificate, not this: it has the scope and the limits.",
    )
    reference: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="What its sender calls it.",
    )
    goal: ListedGoal | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Yes or no, if it is finished and was asked about a `target_radius`.",
    )
    links: CertificationLinks


class CertificationPage(Schema):
    """Certifications of the caller, newest first, and where the older ones are."""

    certifications: tuple[CertificationItem, ...]
    next: str | None = Field(
        description="The address of the next page, also in the header Link; null: no more. "
        "A page can be shorter than its limit, even empty, while there is a next one."
    )


def certification_item(job: CertificationJob, status: str) -> CertificationItem:
    """A certification as a list shows it, without its outcomes."""
    return CertificationItem.model_validate(
        {
            "id": job.id,
            "status": status,
            "batch_id": job.batch_id,
            "submitted_at": job.submitted_at,
            "model": job.request.model,
            "reference": job.reference,
            "sigmas": tuple(map(float, job.request.sigmas)),
            "links": certification_links(job),
        }
    )


def with_outcomes(
    item: CertificationItem, result: document.CertificationResult | None
) -> CertificationItem:
    """The item with the outcomes of its certificates, if it is finished."""
    if not isinstance(result, document.FinishedResult):
        return item
    goal = find_goal(result.certificates)
    outcomes = tuple(map(_outcome, result.certificates))
    listed = None if goal is None else ListedGoal(radius=goal.radius, shown=goal.shown)
    return item.model_copy(update={"outcomes": outcomes, "goal": listed})


def _outcome(certificate: document.CertificateDocument) -> ListedRadius | ListedAbstention:
    about = {"sigma": certificate.sigma, "prompting": certificate.prompting}
    if isinstance(certificate, document.CertifiedDocument):
        said = {"prediction": certificate.prediction, "radius": certificate.radius}
        return ListedRadius.model_validate({**about, **said})
    return ListedAbstention.model_validate(about)
