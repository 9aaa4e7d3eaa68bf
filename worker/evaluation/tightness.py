"""How near an attack comes to the certified radii: the distance of a witness over the radius."""

import statistics
from collections.abc import Sequence

from pydantic import Field

from worker.contract import Contract
from worker.contract.witness import CertificateWitness, Changed, FinishedWitness
from worker.evaluation.question import Row


class Tightness(Contract):
    """What attacks found for one row, on the first images of the run.

    `ratios` has, in the order of the images, R_attack / R_certified of every certified image whose
    smoothed answer an attack changed; radii of 0 are left out. A search bounds the distance to the
    nearest such image from above, and a certificate from below. `alarms` are smoothed answers that
    changed within their certified radius.
    """

    images: int = Field(ge=0)
    certified: int = Field(ge=0)
    ratios: tuple[float, ...]
    undefended: tuple[float, ...] = Field(description="R_attack of the model without noise.")
    alarms: int = Field(ge=0)

    @property
    def median(self) -> float | None:
        """The median of the ratios, if there is one."""
        return statistics.median(self.ratios) if self.ratios else None

    @classmethod
    def of(cls, found: Sequence[CertificateWitness]) -> "Tightness":
        """What the witnesses of one row say."""
        certified = [one for one in found if one.radius]
        return cls(
            images=len(found),
            certified=len(certified),
            ratios=tuple(
                float(one.smoothed.distance) / float(one.radius or 1)
                for one in certified
                if isinstance(one.smoothed, Changed)
            ),
            undefended=tuple(
                float(one.undefended.distance)
                for one in found
                if isinstance(one.undefended, Changed)
            ),
            alarms=sum(one.alarm for one in found),
        )


def measure_tightness(row: Row, witnesses: Sequence[FinishedWitness]) -> Tightness | None:
    """What attacks found for a row; None for a baseline's, which is not attacked."""
    if row.document > 0 or not witnesses:
        return None
    return Tightness.of([one.witnesses[row.certificate] for one in witnesses])
