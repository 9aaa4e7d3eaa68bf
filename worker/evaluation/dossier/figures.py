"""What a dossier adds to the results of a run: figures by class, quantiles, and multiplicity."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby

from scipy.stats import binom

from worker.contract.certificate.document import AbstainedDocument, CertifiedDocument
from worker.evaluation.accuracy import Share, find_right_radius
from worker.evaluation.dossier.document import ClassFigures, Multiplicity, RowFigures
from worker.evaluation.dossier.finished_run import FinishedRun, list_rows
from worker.evaluation.results import average_radius

_QUARTERS = range(5)
Certificate = CertifiedDocument | AbstainedDocument


def create_rows(run: FinishedRun) -> tuple[RowFigures, ...]:
    """The figures of every row, in the order of the results."""
    classes = [image.class_index for image in run.images]
    return tuple(
        RowFigures(
            scopes=tuple(sorted({one.guarantee_scope for one in certificates})),
            learned=sum(bool(one.learned_on_this_image) for one in certificates),
            quantiles=find_quantiles(arm.right_radii),
            classes=tuple(_judge_classes(arm.target.class_names, certificates, classes)),
        )
        for arm, certificates in list_rows(run)
    )


def find_quantiles(radii: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Smallest, quartiles and largest of ascending radii. Each is one of them, the lower of two."""
    if not radii:
        return ()
    return tuple(radii[quarter * (len(radii) - 1) // 4] for quarter in _QUARTERS)


def _judge_classes(
    class_names: Sequence[str], certificates: Sequence[Certificate], classes: Sequence[int]
) -> Iterator[ClassFigures]:
    """The classes that have images, in the order of their index."""
    pairs = sorted(zip(classes, certificates, strict=True), key=lambda pair: pair[0])
    for index, group in groupby(pairs, key=lambda pair: pair[0]):
        own = [certificate for _, certificate in group]
        radii = [find_right_radius(certificate, index) for certificate in own]
        abstained = sum(isinstance(one, AbstainedDocument) for one in own)
        right = sum(radius is not None for radius in radii)
        yield ClassFigures(
            class_name=class_names[index],
            accuracy=Share.of(right, len(own)),
            abstained=abstained,
            wrong=len(own) - abstained - right,
            mean_radius=average_radius(radii),
        )


def find_worst(row: RowFigures) -> tuple[ClassFigures, ...]:
    """The classes with the lowest certified accuracy; none if all classes are alike."""
    shares = [one.accuracy.share for one in row.classes]
    if len(set(shares)) == 1:
        return ()
    return tuple(one for one in row.classes if one.accuracy.share == min(shares))


def count_false(run: FinishedRun) -> Multiplicity:
    """How many certificates there are, and how many may be false."""
    rows = [certificates for _, certificates in list_rows(run)]
    number, alpha = sum(map(len, rows)), run.results.question.alpha
    alike = Counter(image.result.input.sha256 for image in run.images)  # one image, one noise
    return Multiplicity(
        certificates=number,
        alpha=alpha,
        expected_false=(number * alpha).normalize(),
        any_false=min(Decimal(1), number * alpha).normalize(),
        in_a_row=max(alike.values()) * find_most_false(len(alike), float(alpha)),
        repeated=sum(one.attempts > 1 for row in rows for one in row),
    )


def find_most_false(images: int, alpha: float) -> int:
    """The smallest k with P(more than k false) at most alpha.

    The images of a row have independent noise, and each certificate is false with a probability of
    at most alpha, so the number of false ones is at most Binomial(images, alpha).
    """
    return next(k for k in range(images + 1) if binom.sf(k, images, alpha) <= alpha)
