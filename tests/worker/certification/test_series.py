"""The joint statement about several images, against every series that the claims allow."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations, combinations_with_replacement, permutations, product

import pytest

from worker.certification import (
    ImageClaim,
    SeriesAbstained,
    SeriesCertified,
    certify_series,
)

RADII = (Decimal("0.1"), Decimal("0.2"))
Claims = tuple[ImageClaim | None, ...]


def _every_series(images: int, num_classes: int) -> Iterator[Claims]:
    """Every series but for the order of its images."""
    every = [ImageClaim(top_class=c, radius=r) for c in range(num_classes) for r in RADII]
    yield from combinations_with_replacement((None, *every), images)


def _answers(claims: Claims, radius: Decimal, num_classes: int) -> list[Sequence[int]]:
    """What each image can be predicted as when it changes by at most the radius."""
    anything = range(num_classes)
    return [
        (claim.top_class,) if claim is not None and claim.radius >= radius else anything
        for claim in claims
    ]


def _always_wins(
    answers: list[Sequence[int]], top_class: int, replaced: int, num_classes: int
) -> bool:
    """Whether the class is strictly the commonest, whichever images are replaced by whatever."""
    for chosen in combinations(range(len(answers)), replaced):
        open_to_all = [range(num_classes) if i in chosen else a for i, a in enumerate(answers)]
        for predicted in product(*open_to_all):
            counts = [predicted.count(c) for c in range(num_classes)]
            if any(counts[top_class] <= counts[c] for c in range(num_classes) if c != top_class):
                return False
    return True


@pytest.mark.parametrize(
    ("images", "num_classes"), [(1, 2), (3, 2), (4, 2), (3, 3), (4, 3), (5, 2)]
)
def test_series_claims_what_every_allowed_series_keeps_and_nothing_less(
    images: int, num_classes: int
) -> None:
    certified = 0
    for claims in _every_series(images, num_classes):
        found = certify_series(claims, num_classes=num_classes)
        steps = {} if isinstance(found, SeriesAbstained) else {s.radius: s for s in found.steps}
        for radius in RADII:
            answers = _answers(claims, radius, num_classes)
            if isinstance(found, SeriesAbstained):
                assert not any(_always_wins(answers, c, 0, num_classes) for c in range(num_classes))
                continue
            proved = max((s.any_content for r, s in steps.items() if r >= radius), default=-1)
            truly = -1
            while truly < images and _always_wins(answers, found.top_class, truly + 1, num_classes):
                truly += 1
            assert proved == truly
            certified += proved >= 0
    assert certified > 0


def test_series_counts_as_in_the_worked_example() -> None:
    claims = [ImageClaim(top_class=1, radius=Decimal(f"0.{i}")) for i in range(1, 8)]
    found = certify_series(
        [*claims, ImageClaim(top_class=0, radius=Decimal("0.9")), None], num_classes=3
    )
    assert isinstance(found, SeriesCertified)
    assert found.top_class == 1
    assert [(str(s.radius), s.certified, s.other, s.any_content) for s in found.steps] == [
        ("0.1", 7, 2, 2),
        ("0.2", 6, 3, 1),
        ("0.3", 5, 4, 0),
    ]


def test_series_falls_when_an_image_loses_its_claim_or_its_radius() -> None:
    for claims in _every_series(4, 2):
        whole = certify_series(claims, num_classes=2)
        for place in range(4):
            less = certify_series((*claims[:place], None, *claims[place + 1 :]), num_classes=2)
            for radius in RADII:
                assert _reach(less, radius) <= _reach(whole, radius)


def _reach(found: SeriesCertified | SeriesAbstained, radius: Decimal) -> int:
    steps = () if isinstance(found, SeriesAbstained) else found.steps
    return max((step.any_content for step in steps if step.radius >= radius), default=-1)


def test_series_does_not_depend_on_the_order_of_its_images() -> None:
    for claims in _every_series(4, 3):
        found = certify_series(claims, num_classes=3)
        assert all(certify_series(p, num_classes=3) == found for p in permutations(claims))


def test_series_refuses_what_is_no_claim() -> None:
    with pytest.raises(ValueError, match="two classes"):
        certify_series([None], num_classes=1)
    with pytest.raises(ValueError, match="a class of the series"):
        certify_series([ImageClaim(top_class=2, radius=Decimal(0))], num_classes=2)
    with pytest.raises(ValueError, match="at least 0"):
        certify_series([ImageClaim(top_class=0, radius=Decimal(-1))], num_classes=2)
