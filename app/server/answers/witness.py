"""What is shown of the witness of a certification."""

from typing import Annotated, Literal

from pydantic import Field

from app.server.answers.schemas import Schema
from worker.contract import CertificationJob
from worker.contract.witness import FailedWitness, FinishedWitness, WitnessResult


class WitnessLinks(Schema):
    """Where the witness is, and the certification that it belongs to."""

    self: str
    certification: str


class WaitingWitness(Schema):
    """It is looked for, or will be when nothing else waits."""

    status: Literal["queued", "running"]
    certification_id: str
    links: WitnessLinks


class ShownWitness(FinishedWitness):
    """What was found, one entry per certificate.

    The pictures of entry i are at `{self}/{i}/smoothed.png` and `{self}/{i}/undefended.png`, where
    an answer changed.
    """

    certification_id: str
    links: WitnessLinks


class LostWitness(FailedWitness):
    """It could not be looked for; asked again, it is tried again."""

    certification_id: str
    links: WitnessLinks


Witness = Annotated[WaitingWitness | ShownWitness | LostWitness, Field(discriminator="status")]


def create_waiting(job: CertificationJob, status: Literal["queued", "running"]) -> WaitingWitness:
    """A witness that is not there yet."""
    return WaitingWitness(status=status, certification_id=job.id, links=_links(job))


def create_ended(job: CertificationJob, result: WitnessResult) -> ShownWitness | LostWitness:
    """A witness that was found, or why there is none."""
    kind = ShownWitness if isinstance(result, FinishedWitness) else LostWitness
    given = {name: getattr(result, name) for name in type(result).model_fields}
    return kind(**given, certification_id=job.id, links=_links(job))


def _links(job: CertificationJob) -> WitnessLinks:
    path = f"/certifications/{job.id}"
    return WitnessLinks(self=f"{path}/witness", certification=path)
