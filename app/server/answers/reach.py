"""What HTTP shows of a request before it is sent: how much it could prove."""

from pydantic import Field

from app.request.reach import find_note, find_reaches, list_levels
from app.server.answers.schemas import Schema
from worker.contract import CertifyRequest
from worker.contract.certificate.document import Length, SigmaFigure


class ReachedLevel(Schema):
    """The largest radius that every certificate of a noise level could have."""

    sigma: SigmaFigure
    largest_radius: Length


class Reach(Schema):
    """What a request can prove at most, whatever the image: that of votes which are all alike."""

    levels: tuple[ReachedLevel, ...] = Field(description="Empty for the procedure cohen.")
    note: str | None = Field(
        description="What to ask for where a level cannot prove the radius asked about; null: all "
        "can, or none was asked about."
    )


def show_reach(request: CertifyRequest) -> Reach:
    """What a request can prove at most."""
    reaches = find_reaches(list_levels(request))
    levels = (ReachedLevel(sigma=sigma, largest_radius=radius) for sigma, radius in reaches.items())
    return Reach(levels=tuple(levels), note=find_note(request))
