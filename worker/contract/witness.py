"""A witness from the other side: the smallest change found that changes an answer.

It is a resource of a finished certification, never a part of the canonical request: it changes no
roll, no vote and no certificate.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.catalogue.cards import Sha256
from worker.contract.certificate.document import (
    Figure,
    Length,
    LookCounts,
    NoiseKeyText,
    SigmaFigure,
)
from worker.contract.job import Failure
from worker.contract.quantities import MAX_PROBED, Contract

SMALLEST_VOTES = 64


class WitnessSettings(Contract):
    """How hard a change is looked for. More of each finds smaller changes, and takes longer."""

    steps: int = Field(default=40, ge=1, description="Steps of each descent.")
    copies: int = Field(
        default=16,
        ge=1,
        le=MAX_PROBED,
        description="Noisy copies that the gradient of a step is over.",
    )
    votes: int = Field(
        default=1000,
        ge=SMALLEST_VOTES,
        description="Samples that show the smoothed answer at the change that is reported.",
    )

    @property
    def search_votes(self) -> int:
        """Samples that judge each image on the way. They guide the search and show nothing."""
        return max(SMALLEST_VOTES, self.votes // 8)


class Changed(Contract):
    """An 8-bit image at which the answer is another one.

    `distance` is the l2 distance from the certified image in the units of certificates, taken after
    rounding to 8 bits and rounded up. `votes` are those on this image, drawn afresh when the search
    was over; the undefended model answers once, and has none.
    """

    outcome: Literal["changed"] = "changed"
    class_index: int = Field(ge=0)
    prediction: str
    distance: Length
    image_sha256: Sha256
    votes: LookCounts | None = Field(default=None, exclude_if=lambda value: value is None)


class NothingFound(Contract):
    """The search found no change. That proves nothing: a better search may find one.

    `farthest` is the largest distance at which it looked. `unconfirmed`: it saw another answer on
    the way, which the fresh votes did not confirm.
    """

    outcome: Literal["nothing_found"] = "nothing_found"
    farthest: Length
    unconfirmed: bool = Field(default=False, exclude_if=lambda value: not value)


class NotAsked(Contract):
    """There was nothing to change, or no way to look for it.

    `abstained`: there is no smoothed answer. `routed`: one prompt of a bank is chosen for every
    sample, and no gradient passes that choice. `near_tie`: the undefended model gives no clear
    answer. `no_gradient`: the device had no memory for one. `gives_no_gradient`: the model is an
    image classifier in ONNX, whose runtime gives none. `time_ended`: the search ran out of time.
    """

    outcome: Literal["not_asked"] = "not_asked"
    reason: Literal[
        "abstained", "routed", "near_tie", "no_gradient", "gives_no_gradient", "time_ended"
    ]


Search = Annotated[Changed | NothingFound | NotAsked, Field(discriminator="outcome")]


class CertificateWitness(Contract):
    """What was found for one certificate.

    `undefended` is about the same model under the same prompt without noise, whose answer to the
    certified image is `undefended_prediction`. `alarm`: the smoothed answer changed within the
    certified radius, so the certificate or these votes are wrong, unless another f voted.
    """

    certificate: int = Field(ge=0, description="Its place in the document, from 0.")
    sigma: SigmaFigure
    prediction: str | None = Field(description="The certified class; null where it abstained.")
    radius: Figure | None
    smoothed: Search
    undefended_prediction: str | None
    undefended: Search
    alarm: bool
    statement: str


class FinishedWitness(Contract):
    """The witness of a certification, one entry per certificate.

    `alpha` is the error probability of each smoothed answer that is shown. `noise_key` is the key
    of the votes; no certificate draws noise of it. `other_f` says in which way the f that voted is
    not known to be the f of the certificate; it is absent where it is.
    """

    status: Literal["finished"] = "finished"
    schema_version: Literal[1] = 1
    settings: WitnessSettings
    alpha: Figure
    noise_key: NoiseKeyText
    other_f: str | None = Field(default=None, exclude_if=lambda value: value is None)
    witnesses: tuple[CertificateWitness, ...]
    seconds: float = Field(ge=0)
    finished_at: datetime
    research_use_only: Literal[True] = True

    @property
    def alarm(self) -> bool:
        """Whether any smoothed answer changed within its certified radius."""
        return any(one.alarm for one in self.witnesses)


class FailedWitness(Contract):
    """A witness that could not be looked for. It says nothing about the certificate."""

    status: Literal["failed"] = "failed"
    schema_version: Literal[1] = 1
    failure: Failure


WitnessResult = Annotated[FinishedWitness | FailedWitness, Field(discriminator="status")]
