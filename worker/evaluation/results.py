"""The results of a run, computed from its finished images."""

from collections.abc import Sequence
from decimal import Decimal
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
from worker.contract import CertifyRequest, Contract, RoutedTarget, Target
from worker.contract.certificate.document import AbstainedDocument, CertifiedDocument
from worker.counting.contests import create_procedure
from worker.evaluation.accuracy import Share, certified_accuracy, find_right_radius
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import EvaluatedImage

PUBLISHED_RADII = tuple(
    map(Decimal, ("0", "0.1", "0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2", "2.5"))
)

_AsNumber = PlainSerializer(float, return_type=float, when_used="json")
Length = Annotated[Decimal, Field(ge=0), _AsNumber]


class AtRadius(Contract):
    """Certified accuracy at one radius."""

    radius: Length
    accuracy: Share


class Arm(Contract):
    """One target at one noise level, over all images.

    `right_radii` are the radii of the correctly predicted images, ascending. None can exceed
    `largest_radius`, which an image reaches only if all its samples vote for one class. Radii above
    it are out of reach at this number of samples and say nothing about the model. `clean` is the
    base classifier's accuracy without noise; None if that classifier depends on the image.
    """

    label: str
    target: Target
    sigma: Decimal
    abstained: int = Field(ge=0)
    wrong: int = Field(ge=0)
    at_radius: tuple[AtRadius, ...]
    right_radii: tuple[Length, ...]
    largest_radius: Length
    clean: Share | None
    mean_samples: float
    mean_adaptation_s: float

    @property
    def images(self) -> int:
        """The number of images."""
        return self.abstained + self.wrong + len(self.right_radii)


class Cost(Contract):
    """The cost of a run: wall seconds over all sittings, and passes of the image tower.

    All targets of an image share its passes, so neither number can be divided among targets.
    """

    seconds: float
    samples: int
    sittings: int

    @property
    def samples_per_s(self) -> float:
        """Passes of the image tower per second."""
        return self.samples / self.seconds if self.seconds else 0.0


class EvaluationResults(Contract):
    """Certified accuracy of every target at every noise level, with the question and the cost."""

    question: EvaluationQuestion
    arms: tuple[Arm, ...]
    cost: Cost


def create_results(
    question: EvaluationQuestion,
    images: Sequence[EvaluatedImage],
    *,
    radii: Sequence[Decimal],
    clean: Sequence[Share | None],
) -> EvaluationResults:
    """The results of a finished run.

    Args:
        question: the question of the run.
        images: every image of the subset, exactly once.
        radii: the radii at which to compute certified accuracy.
        clean: the base classifier's accuracy without noise, for each target.

    Raises:
        ValueError: an image is missing or present twice. Shares are always over all images asked
            for.
    """
    ordered = sorted(images, key=lambda image: image.place)
    if [image.place for image in ordered] != list(range(question.images)):
        raise ValueError(
            f"expected each of {question.images} images once, got {len(images)} images"
        )
    return EvaluationResults(
        question=question,
        arms=tuple(
            _create_arm(question, ordered, level, place, radii, clean[place])
            for level in range(len(question.sigmas))
            for place in range(len(question.targets))
        ),
        cost=_add_up(ordered),
    )


def _create_arm(
    question: EvaluationQuestion,
    images: Sequence[EvaluatedImage],
    level: int,
    place: int,
    radii: Sequence[Decimal],
    clean: Share | None,
) -> Arm:
    target = question.targets[place]
    index = level * len(question.targets) + place
    certificates = [image.result.certificates[index] for image in images]
    found = [
        find_right_radius(certificate, image.class_index)
        for certificate, image in zip(certificates, images, strict=True)
    ]
    abstained = sum(isinstance(one, AbstainedDocument) for one in certificates)
    right = sorted(radius for radius in found if radius is not None)
    return Arm(
        label=create_label(target, question.targets),
        target=target,
        sigma=question.sigmas[level],
        abstained=abstained,
        wrong=len(images) - abstained - len(right),
        at_radius=tuple(
            AtRadius(radius=radius, accuracy=certified_accuracy(found, radius)) for radius in radii
        ),
        right_radii=tuple(right),
        largest_radius=find_largest_radius(
            question.create_request(images[0].result.input), target, question.sigmas[level]
        ),
        clean=clean,
        mean_samples=sum(one.n_used for one in certificates) / len(images),
        mean_adaptation_s=sum(map(_adaptation_s, certificates)) / len(images),
    )


def create_label(target: Target, targets: Sequence[Target]) -> str:
    """A target's name in tables: its prompting, with its prompt if several targets share it."""
    alike = sum(other.prompting == target.prompting for other in targets)
    prompt = getattr(target, "prompt", None)
    if alike == 1 or prompt is None:
        return target.prompting
    return f"{target.prompting} ({prompt.id})"


def _adaptation_s(certificate: CertifiedDocument | AbstainedDocument) -> float:
    return 0.0 if certificate.adaptation is None else certificate.adaptation.seconds


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


def _add_up(images: Sequence[EvaluatedImage]) -> Cost:
    sittings = {image.sitting for image in images}
    return Cost(
        seconds=sum(max(i.elapsed_s for i in images if i.sitting == one) for one in sittings),
        samples=sum(image.samples for image in images),
        sittings=len(sittings),
    )
