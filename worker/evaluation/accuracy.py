"""Certified accuracy: the share of all images that are predicted correctly with a radius >= r."""

from collections.abc import Sequence
from decimal import Decimal

from pydantic import Field

from worker.certification import lower_confidence_bound, upper_confidence_bound
from worker.contract import Contract
from worker.contract.certificate.document import AbstainedDocument, CertifiedDocument

_EACH_SIDE = 0.025


class Share(Contract):
    """`right` out of `images`, with the 95 % Clopper-Pearson interval over images.

    The interval covers the choice of images, not the noise: each certificate has its own alpha.
    """

    right: int = Field(ge=0)
    images: int = Field(ge=1)
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, right: int, images: int) -> "Share":
        return cls(
            right=right,
            images=images,
            share=right / images,
            low=lower_confidence_bound(right, images, _EACH_SIDE),
            high=upper_confidence_bound(right, images, _EACH_SIDE),
        )


def find_right_radius(
    certificate: CertifiedDocument | AbstainedDocument, class_index: int
) -> Decimal | None:
    """The radius within which the right class is certified; None if it is not certified."""
    if isinstance(certificate, CertifiedDocument) and certificate.class_index == class_index:
        return certificate.radius
    return None


def certified_accuracy(right_radii: Sequence[Decimal | None], radius: Decimal) -> Share:
    """Certified accuracy at a radius, over all images, abstentions and wrong classes included.

    Args:
        right_radii: what `find_right_radius` returned for every image.
        radius: r, l2 in pixels scaled to [0, 1]. An image whose radius is exactly r counts as
            right.
    """
    right = sum(found is not None and found >= radius for found in right_radii)
    return Share.of(right, len(right_radii))
