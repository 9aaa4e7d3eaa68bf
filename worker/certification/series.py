"""Several images as one answer: the class that most of them are predicted as, by counting.

The proof is in docs/guarantee.md, "Several images as one answer".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class ImageClaim:
    """What the certificate of one image claims: g is `top_class` within l2 distance `radius`."""

    top_class: int
    radius: Decimal


@dataclass(frozen=True, kw_only=True)
class SeriesStep:
    """One radius, and how many images may hold any content beside it.

    Attributes:
        radius: l2, pixels in [0, 1]; every image may change by at most this.
        certified: N_A, the images certified as the series' class at this radius.
        other: N_B, the most images that can be predicted as any one other class.
    """

    radius: Decimal
    certified: int
    other: int

    @property
    def any_content(self) -> int:
        """How many images may be replaced by anything: floor((N_A - N_B - 1) / 2)."""
        return (self.certified - self.other - 1) // 2


@dataclass(frozen=True, kw_only=True)
class SeriesCertified:
    """If all claims are true, more images are predicted as `top_class` than as any other class.

    `steps` hold together: the largest radius for each number of images with any content, the
    smallest radius first.
    """

    top_class: int
    steps: tuple[SeriesStep, ...]


@dataclass(frozen=True)
class SeriesAbstained:
    """No class has a certified majority over the others at any radius."""


def certify_series(
    claims: Sequence[ImageClaim | None], *, num_classes: int
) -> SeriesCertified | SeriesAbstained:
    """Counts the claims about the images of a series.

    Args:
        claims: one for each image; None where nothing is claimed, whatever the reason. They must
            hold together: the probability that any of them is false is that of the result.
        num_classes: number of classes, at least 2.

    Raises:
        ValueError: there are fewer than two classes, or a claim is about another one.
    """
    made = [claim for claim in claims if claim is not None]
    if num_classes < 2:
        raise ValueError(f"expected at least two classes, got {num_classes}")
    if any(not 0 <= claim.top_class < num_classes or claim.radius < 0 for claim in made):
        raise ValueError("a claim is about a class of the series, with a radius of at least 0")
    if not made:
        return SeriesAbstained()
    top_class, _ = Counter(claim.top_class for claim in made).most_common(1)[0]
    radii = sorted({claim.radius for claim in made})
    steps = [_count(made, len(claims), top_class, radius) for radius in radii]
    largest = {step.any_content: step for step in steps if step.certified > step.other}
    if not largest:
        return SeriesAbstained()
    return SeriesCertified(top_class=top_class, steps=tuple(largest.values()))


def _count(made: Sequence[ImageClaim], images: int, top_class: int, radius: Decimal) -> SeriesStep:
    """N_A and N_B at one radius: what is not certified there may be of any class."""
    at_radius = Counter(claim.top_class for claim in made if claim.radius >= radius)
    open_images = images - at_radius.total()
    certified = at_radius.pop(top_class, 0)
    most = max(at_radius.values(), default=0)
    return SeriesStep(radius=radius, certified=certified, other=most + open_images)
