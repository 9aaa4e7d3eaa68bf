"""The results of a run, computed from its finished images."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer

from worker.certification import (
    Certified,
    Cohen,
    Looks,
    Procedure,
    Staged,
    Tally,
    plan_looks,
    rounded_down,
)
from worker.contract import ANY_IMAGE, CertifyRequest, Contract, ModelRef, RoutedTarget, Target
from worker.contract.certificate.document import AbstainedDocument
from worker.counting.contests import create_procedure
from worker.evaluation.accuracy import Share, certified_accuracy, find_right_radius
from worker.evaluation.comparison.bootstrap import RESAMPLES, SEED
from worker.evaluation.comparison.paired import PairedDifference, RightRadii, compare
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.others import OtherImages
from worker.evaluation.question import BaselineName, EvaluationQuestion, Row
from worker.evaluation.run_file import EvaluatedImage, SkippedImage
from worker.evaluation.tightness import Tightness
from worker.evaluation.trained import Trained

PUBLISHED_RADII = tuple(
    map(Decimal, ("0", "0.1", "0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2", "2.5"))
)

_AsNumber = PlainSerializer(float, return_type=float, when_used="json")
Length = Annotated[Decimal, Field(ge=0), _AsNumber]


class AtRadius(Contract):
    """Certified accuracy at one radius, and how it differs from the template's.

    `paired` is None for the template's own row, and if the template was not asked for.
    """

    radius: Length
    accuracy: Share
    paired: PairedDifference | None = None


class Arm(Contract):
    """One target at one noise level, judged by one model, over all images.

    `radii_by_image` has, in the order of the images, the radius within which the right class is
    certified, or None; `mean_radius` is their average, None counting as 0 (ACR). No radius can
    exceed `largest_radius`, which an image reaches only if all its samples vote for one class.
    Radii above it are out of reach at this number of samples and say nothing about the model.

    `model` is a baseline's own if `baseline` names one. `clean` is the base classifier's accuracy
    without noise; None if that classifier depends on the image, and then `others` says what the
    tuned prompts answer on other images.
    """

    label: str
    target: Target
    sigma: Decimal
    model: ModelRef
    baseline: BaselineName | None = None
    abstained: int = Field(ge=0)
    wrong: int = Field(ge=0)
    at_radius: tuple[AtRadius, ...]
    radii_by_image: tuple[Length | None, ...]
    mean_radius: Length = Field(
        default_factory=lambda found: average_radius(found["radii_by_image"])
    )
    largest_radius: Length
    clean: Share | None
    others: OtherImages | None = None
    mean_samples: float
    mean_adaptation_s: float
    tightness: Tightness | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.radii_by_image)

    @property
    def right_radii(self) -> tuple[Decimal, ...]:
        """The radii of the correctly predicted images, ascending."""
        return tuple(sorted(radius for radius in self.radii_by_image if radius is not None))


def average_radius(radii: Sequence[Decimal | None]) -> Decimal:
    """The average certified radius of Zhai et al. (MACER, 2020), rounded down to six decimals.

    Args:
        radii: for each image, the radius within which its right class is certified; None: it is
            not, and counts as 0.
    """
    total = sum((radius for radius in radii if radius is not None), Decimal(0))
    return (total / len(radii)).quantize(Decimal("0.000001"), ROUND_FLOOR)


class BootstrapDraws(Contract):
    """What the intervals of differences were drawn with."""

    seed: int = SEED
    resamples: int = RESAMPLES


class Cost(Contract):
    """The cost of a run: wall seconds over all sittings, and passes of image towers.

    All targets of an image share its passes, so neither number can be divided among targets.
    """

    seconds: float
    samples: int
    sittings: int

    @property
    def samples_per_s(self) -> float:
        """Passes of image towers per second."""
        return self.samples / self.seconds if self.seconds else 0.0


class EvaluationResults(Contract):
    """Certified accuracy of every row, with the question, the cost, and what was trained for it.

    `skipped` are images of the subset that cannot be decoded. No row counts them.
    """

    question: EvaluationQuestion
    arms: tuple[Arm, ...]
    cost: Cost
    trained: tuple[Trained, ...] = ()
    bootstrap: BootstrapDraws = BootstrapDraws()
    skipped: tuple[SkippedImage, ...] = Field(default=(), exclude_if=lambda found: not found)

    def find_arm(self, label: str, sigma: Decimal) -> Arm | None:
        """The row with a label at a noise level."""
        return next((arm for arm in self.arms if (arm.label, arm.sigma) == (label, sigma)), None)


def create_results(
    question: EvaluationQuestion,
    images: Iterable[EvaluatedImage],
    *,
    radii: Sequence[Decimal],
    noiseless: Sequence[Noiseless],
    trained: Sequence[Trained] = (),
    skipped: Sequence[SkippedImage] = (),
    tightness: Sequence[Tightness | None] = (),
) -> EvaluationResults:
    """The results of a finished run.

    Args:
        question: the question of the run.
        images: every image of the subset that was not skipped, exactly once. They are gone through
            once, and their documents are not held.
        radii: the radii at which to compute certified accuracy.
        noiseless: for each row of the question, what was measured without noise.
        trained: what was trained for the rows.
        skipped: the images of the subset that cannot be decoded.
        tightness: for each row, what attacks found; empty if nobody asked for it.

    Raises:
        ValueError: an image is missing or present twice, or none was certified. Shares are always
            over all images asked for that can be decoded.
    """
    rows, request = question.rows, question.create_request(ANY_IMAGE)
    seen = [_Seen.of(image, rows) for image in images]
    require_all(question, [one.place for one in seen], skipped)
    seen.sort(key=lambda one: one.place)
    judged = [
        _Judged(row=row, outcomes=outcomes)
        for row, outcomes in zip(
            rows, zip(*(one.outcomes for one in seen), strict=True), strict=True
        )
    ]
    templates = {
        one.row.sigma: one
        for one in judged
        if one.row.baseline is None and one.row.target == question.template
    }
    return EvaluationResults(
        question=question,
        arms=tuple(
            one.summarise(
                radii,
                template=templates.get(one.row.sigma),
                largest=find_largest_radius(request, one.row.target, one.row.sigma),
                noiseless=without_noise,
                tightness=tight,
            )
            for one, without_noise, tight in zip(
                judged, noiseless, tightness or [None] * len(judged), strict=True
            )
        ),
        cost=_add_up(seen),
        trained=tuple(trained),
        skipped=tuple(sorted(skipped, key=lambda image: image.place)),
    )


def order_images(
    question: EvaluationQuestion,
    images: Sequence[EvaluatedImage],
    skipped: Sequence[SkippedImage] = (),
) -> list[EvaluatedImage]:
    """The certified images of a finished run, in order.

    Raises:
        ValueError: an image is missing or present twice, or all were skipped.
    """
    require_all(question, [image.place for image in images], skipped)
    return sorted(images, key=lambda image: image.place)


def require_all(
    question: EvaluationQuestion, certified: Collection[int], skipped: Sequence[SkippedImage]
) -> None:
    """Raises ValueError unless each image is certified or skipped, once, and one is certified.

    Args:
        question: the question of the run.
        certified: the places of the certified images.
        skipped: the skipped ones.
    """
    places = sorted([*certified, *(image.place for image in skipped)])
    if places != list(range(question.images)):
        raise ValueError(
            f"expected each of {question.images} images once, got {len(places)} images"
        )
    if not certified:
        raise ValueError(f"none of the {len(places)} images can be used. {skipped[0].why_not}")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What tables need of a certificate."""

    abstained: bool
    right_radius: Decimal | None
    n_used: int
    adaptation_s: float

    @classmethod
    def of(cls, image: EvaluatedImage, row: Row) -> "_Outcome":
        one = image.find_certificate(row)
        return cls(
            isinstance(one, AbstainedDocument),
            find_right_radius(one, image.class_index),
            one.n_used,
            0.0 if one.adaptation is None else one.adaptation.seconds,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tables need of an image; `outcomes` in the order of the rows."""

    place: int
    sitting: int
    elapsed_s: float
    samples: int
    outcomes: tuple[_Outcome, ...]

    @classmethod
    def of(cls, image: EvaluatedImage, rows: Sequence[Row]) -> "_Seen":
        outcomes = tuple(_Outcome.of(image, row) for row in rows)
        return cls(image.place, image.sitting, image.elapsed_s, image.samples, outcomes)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """One row's outcomes, in the order of the images."""

    row: Row
    outcomes: Sequence[_Outcome]

    @property
    def right(self) -> RightRadii:
        """The radii of its right answers."""
        return tuple(one.right_radius for one in self.outcomes)

    def summarise(
        self,
        radii: Sequence[Decimal],
        *,
        template: "_Judged | None",
        largest: Decimal,
        noiseless: Noiseless,
        tightness: Tightness | None,
    ) -> Arm:
        images, right = len(self.outcomes), self.right
        abstained = sum(one.abstained for one in self.outcomes)
        return Arm(
            label=self.row.label,
            target=self.row.target,
            sigma=self.row.sigma,
            model=self.row.model,
            baseline=self.row.baseline,
            abstained=abstained,
            wrong=images - abstained - sum(radius is not None for radius in right),
            at_radius=tuple(self._at(radius, template) for radius in radii),
            radii_by_image=tuple(right),
            largest_radius=largest,
            clean=noiseless.clean,
            others=noiseless.others,
            mean_samples=sum(one.n_used for one in self.outcomes) / images,
            mean_adaptation_s=sum(one.adaptation_s for one in self.outcomes) / images,
            tightness=tightness,
        )

    def _at(self, radius: Decimal, template: "_Judged | None") -> AtRadius:
        accuracy = certified_accuracy(self.right, radius)
        if template is None or template is self:
            return AtRadius(radius=radius, accuracy=accuracy)
        paired = compare(self.right, template.right, radius)
        return AtRadius(radius=radius, accuracy=accuracy, paired=paired)


def find_largest_radius(request: CertifyRequest, target: Target, sigma: Decimal) -> Decimal:
    """The radius of a certificate whose samples all agree, rounded down."""
    shares = 2 if isinstance(target, RoutedTarget) else 1
    procedure = create_procedure(request, shares=shares)
    looks = _agreeing(procedure, len(target.class_names))
    outcome = procedure.decide(looks, sigma=float(sigma))
    return rounded_down(outcome.radius) if isinstance(outcome, Certified) else Decimal(0)


def _agreeing(procedure: Procedure, num_classes: int) -> Looks:
    def all_first(n: int) -> Tally:
        return Tally(counts=(n, *[0] * (num_classes - 1)), ambiguous=0)

    match procedure:
        case Cohen(n0=n0, n=n):
            return {"selection": (all_first(n0),), "estimation": (all_first(n),)}
        case Staged(n_max=n_max, alpha=alpha):
            planned = plan_looks(alpha, n_max)
            return {"selection": (), "estimation": tuple(all_first(look.n) for look in planned)}
    raise TypeError(f"expected the procedure cohen or staged, got {procedure}")


def _add_up(images: Sequence[_Seen]) -> Cost:
    sittings = {image.sitting for image in images}
    return Cost(
        seconds=sum(max(i.elapsed_s for i in images if i.sitting == one) for one in sittings),
        samples=sum(image.samples for image in images),
        sittings=len(sittings),
    )
