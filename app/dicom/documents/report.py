"""The certificates of one image as a structured report: a group for each."""

from decimal import Decimal

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept
from pydicom.uid import UID

from app.dicom.documents import vocabulary
from app.dicom.documents.source import derive_result_uids, derive_uid, read_uids, result_digest
from app.dicom.documents.structured import (
    add_statement,
    create_measurement,
    create_structured_report,
)
from app.dicom.instance import read_number
from app.dicom.rules import Rule
from app.dicom.spool import Document
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertificateDocument,
    CertifiedDocument,
    FinishedResult,
)


def create_report(
    source: Dataset,
    result: FinishedResult,
    rule: Rule,
    *,
    made: str,
    predecessor: Document | None = None,
) -> Dataset:
    """The structured report on an image; `predecessor` is that of an earlier attempt."""
    frames = [result.input.frame + 1] if result.input.frames > 1 else None
    groups = [
        _create_group(source, result, rule, certificate, place, frames)
        for place, certificate in enumerate(result.certificates)
    ]
    return create_structured_report(
        groups,
        source,
        evidence=[read_uids(source)],
        document=derive_result_uids("sr", source, result, rule),
        series_number=9900,
        number=max(1, read_number(source, "InstanceNumber", 1)),
        made=made,
        predecessor=predecessor,
    )


def _create_group(
    source: Dataset,
    result: FinishedResult,
    rule: Rule,
    certificate: CertificateDocument,
    place: int,
    frames: list[int] | None,
) -> sr.MeasurementsAndQualitativeEvaluations:
    identity = (source.SOPInstanceUID, rule.digest, result_digest(result), str(place))
    image = sr.SourceImageForMeasurementGroup(
        UID(source.SOPClassUID), UID(source.SOPInstanceUID), frames
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derive_uid("group", *identity),
            identifier=f"{certificate.prompting}, sigma {certificate.sigma:f}",
        ),
        finding_type=vocabulary.FINDING,
        algorithm_id=create_algorithm(result, certificate, _name_origin(result, certificate)),
        measurements=_create_measurements(certificate),
        qualitative_evaluations=_create_evaluations(certificate, rule),
        source_images=[image],
    )
    add_statement(group, certificate.statement)
    return group


def create_algorithm(
    result: FinishedResult, certificate: CertificateDocument, origin: list[str]
) -> sr.AlgorithmIdentification:
    """Model, prompting and release; `origin` has the digests of what was certified."""
    parameters = [
        f"model {result.model.id} sha256 {result.model.sha256}",
        f"prompting {certificate.prompting}",
        f"procedure {certificate.procedure}",
        *origin,
        *(f"version {name} {version}" for name, version in result.provenance.versions.items()),
    ]
    release = result.provenance.versions.get("promptsmooth-service", str(result.schema_version))
    return sr.AlgorithmIdentification(
        name="PromptSmooth randomized smoothing", version=release, parameters=parameters
    )


def _name_origin(result: FinishedResult, certificate: CertificateDocument) -> list[str]:
    prompt = certificate.prompt
    return [
        *([] if prompt is None else [f"prompt {prompt.id} sha256 {prompt.sha256}"]),
        f"input image sha256 {result.input.sha256}",
        f"certificate sha256 {result_digest(result)}",
    ]


def _create_measurements(certificate: CertificateDocument) -> list[sr.Measurement]:
    figures: list[tuple[Concept, Decimal | int]] = [
        (vocabulary.SIGMA, certificate.sigma),
        (vocabulary.ALPHA, certificate.alpha),
        (vocabulary.CONFIDENCE, 1 - certificate.alpha),
        (vocabulary.SAMPLES, certificate.n_used),
        (vocabulary.ATTEMPTS, certificate.attempts),
    ]
    if isinstance(certificate, CertifiedDocument):
        figures.insert(0, (vocabulary.RADIUS, certificate.radius))
    return [create_measurement(name, float(value)) for name, value in figures]


def _create_evaluations(
    certificate: CertificateDocument, rule: Rule
) -> list[sr.QualitativeEvaluation]:
    scope = certificate.guarantee_scope
    said = vocabulary.ours(scope, scope.replace("_", " "))
    found = [sr.QualitativeEvaluation(vocabulary.SCOPE, said)]
    if isinstance(certificate, AbstainedDocument):
        return [sr.QualitativeEvaluation(vocabulary.OUTCOME, vocabulary.ABSTAINED), *found]
    predicted = vocabulary.code_class(certificate.prediction, rule)
    return [
        sr.QualitativeEvaluation(vocabulary.OUTCOME, vocabulary.CERTIFIED),
        sr.QualitativeEvaluation(vocabulary.PREDICTION, predicted),
        *found,
    ]
