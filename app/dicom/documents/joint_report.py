"""The joint answer of a series as a structured report: N, N_A and N_B at a radius."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from highdicom import sr
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept
from pydicom.uid import UID

from app.dicom.documents import vocabulary
from app.dicom.documents.report import create_algorithm
from app.dicom.documents.source import derive_uid, result_digest
from app.dicom.documents.structured import (
    add_statement,
    create_measurement,
    create_structured_report,
)
from app.dicom.rules import Rule
from app.dicom.spool import Document, Uids
from models.files.untrusted_text import explain_invalid
from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.series import (
    JointAbstained,
    JointCertified,
    JointStep,
    join_requests,
)

Joint = JointCertified | JointAbstained


class SeriesNotJoined(ValueError):
    """The certificates are not about one question; the text says why, without a header."""


@dataclass(frozen=True, kw_only=True)
class SeriesImage:
    """An image that its rule chose: its UIDs, its frame from 0, and its result, if it has one."""

    uids: Uids
    frame: int | None
    result: FinishedResult | None


def create_joint_report(
    source: Dataset,
    images: Sequence[SeriesImage],
    rule: Rule,
    *,
    made: str,
    predecessor: Document | None = None,
) -> Dataset:
    """The structured report on a series: a group for each joint statement and end of its radii.

    Args:
        source: the header that patient and study are copied from.
        images: all that the rule chose. One without a result counts against every class.
        rule: that they were certified under.
        made: when the last of the certifications was asked for.
        predecessor: the report on the series as it was before.

    Raises:
        SeriesNotJoined: no image has a result, or they are not results of one question by one
            model.
    """
    results = [one.result for one in images if one.result is not None]
    joint = _join(images)
    name = _name_results(results)
    groups = [
        _create_group(images, rule, answer, step, results[0], place, name)
        for place, answer in enumerate(joint)
        for step in find_ends(answer)
    ]
    series = derive_uid("series", "joint", source.SeriesInstanceUID, rule.digest)
    instance = derive_uid("joint", source.SeriesInstanceUID, rule.digest, name, str(len(images)))
    return create_structured_report(
        groups,
        source,
        evidence=[image.uids for image in images],
        document=(series, instance),
        series_number=9902,
        number=1,
        made=made,
        predecessor=predecessor,
    )


def _join(images: Sequence[SeriesImage]) -> tuple[Joint, ...]:
    try:
        return join_requests([image.result for image in images])
    except ValidationError as error:
        reason = explain_invalid(error, "the joint answer")
    except ValueError as error:
        reason = str(error)
    raise SeriesNotJoined(f"the images cannot be joined: {reason}")


def _name_results(results: Sequence[FinishedResult]) -> str:
    """One digest of all of them, in whatever order they came."""
    digests = sorted(map(result_digest, results))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def find_ends(answer: Joint) -> list[JointStep | None]:
    """The steps that the statement names: most images with any content, and the largest radius."""
    if isinstance(answer, JointAbstained):
        return [None]
    return list(dict.fromkeys((answer.steps[0], answer.steps[-1])))


def _create_group(
    images: Sequence[SeriesImage],
    rule: Rule,
    answer: Joint,
    step: JointStep | None,
    of: FinishedResult,
    place: int,
    name: str,
) -> sr.MeasurementsAndQualitativeEvaluations:
    radius = "none" if step is None else f"{step.radius:f}"
    certificate = of.certificates[place]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derive_uid("joint-group", rule.digest, name, str(place), radius),
            identifier=f"{answer.prompting}, sigma {answer.sigma:f}, radius {radius}",
        ),
        finding_type=vocabulary.SERIES_FINDING,
        algorithm_id=create_algorithm(
            of, certificate, [f"certificates of {answer.images} images sha256 {name}"]
        ),
        measurements=_create_measurements(answer, step),
        qualitative_evaluations=_create_evaluations(answer, rule),
        source_images=_refer_to(images),
    )
    add_statement(group, answer.statement)
    return group


def _refer_to(images: Sequence[SeriesImage]) -> list[sr.SourceImageForMeasurementGroup]:
    """One reference for each object, with the numbers of its frames, from 1."""
    frames: dict[Uids, list[int]] = {image.uids: [] for image in images}
    for image in images:
        if image.frame is not None:
            frames[image.uids].append(image.frame + 1)
    return [
        sr.SourceImageForMeasurementGroup(UID(of.sop_class), UID(of.instance), numbers or None)
        for of, numbers in frames.items()
    ]


def _create_measurements(answer: Joint, step: JointStep | None) -> list[sr.Measurement]:
    figures: list[tuple[Concept, float]] = [
        (vocabulary.SIGMA, float(answer.sigma)),
        (vocabulary.ALPHA, float(answer.alpha)),
        (vocabulary.CONFIDENCE, float(1 - answer.alpha)),
        (vocabulary.IMAGES, answer.images),
    ]
    if step is not None:
        figures += [
            (vocabulary.RADIUS, float(step.radius)),
            (vocabulary.IMAGES_CERTIFIED, step.images_certified),
            (vocabulary.IMAGES_OTHER, step.images_other),
            (vocabulary.IMAGES_ANY_CONTENT, step.images_any_content),
        ]
    return [create_measurement(name, value) for name, value in figures]


def _create_evaluations(answer: Joint, rule: Rule) -> list[sr.QualitativeEvaluation]:
    if isinstance(answer, JointAbstained):
        return [sr.QualitativeEvaluation(vocabulary.OUTCOME, vocabulary.ABSTAINED)]
    predicted = vocabulary.code_class(answer.prediction, rule)
    return [
        sr.QualitativeEvaluation(vocabulary.OUTCOME, vocabulary.CERTIFIED),
        sr.QualitativeEvaluation(vocabulary.PREDICTION, predicted),
    ]
