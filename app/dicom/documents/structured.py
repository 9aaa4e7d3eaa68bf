"""A Comprehensive 3D SR by template TID 1500: preliminary, unverified, of the source's study."""

from collections.abc import Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as Concept
from pydicom.uid import UID
from pydicom.valuerep import DT

from app.dicom.documents import vocabulary
from app.dicom.documents.source import (
    SERIES_DESCRIPTION,
    copy_patient_and_study,
    derive_uid,
    outline,
    set_made,
)
from app.dicom.instance import MANUFACTURER
from app.dicom.spool import Document, Uids

Groups = Sequence[sr.MeasurementsAndQualitativeEvaluations]


def create_structured_report(
    groups: Groups,
    source: Dataset,
    *,
    evidence: Sequence[Uids],
    document: tuple[UID, UID],
    series_number: int,
    number: int,
    made: str,
    predecessor: Document | None,
) -> Dataset:
    """Measurement groups as one report.

    Args:
        groups: what it says.
        source: the header that its patient and study are those of.
        evidence: the images that it is about, by their UIDs.
        document: series and instance UID of the report.
        series_number: among those of the study.
        number: in its series, from 1.
        made: when its content was made.
        predecessor: the report that it follows.
    """
    content = sr.MeasurementReport(
        observation_context=_create_context(),
        procedure_reported=vocabulary.REPORTED,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    series, instance = document
    report = sr.Comprehensive3DSR(
        evidence=[outline(one) for one in evidence],  # highdicom would judge the header's values
        content=content[0],
        series_instance_uid=series,
        series_number=series_number,
        sop_instance_uid=instance,
        instance_number=number,
        manufacturer=MANUFACTURER,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    copy_patient_and_study(source, report)
    set_made(report, made)
    for equipment in report.ContributingEquipmentSequence:  # highdicom names itself, and now
        equipment.ContributionDateTime = DT(f"{report.ContentDate}{report.ContentTime}")
    if predecessor is not None:
        report.PredecessorDocumentsSequence = [_refer(predecessor, report.StudyInstanceUID)]
    return report


def _create_context() -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derive_uid("device", MANUFACTURER), name=MANUFACTURER, manufacturer_name=MANUFACTURER
    )
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return sr.ObservationContext(observer_device_context=observer)


def _refer(document: Document, study: str) -> Dataset:
    """A document of the same study, as a hierarchical reference (PS3.3 C.17.2)."""
    instance, series, found = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = document.sop_class
    instance.ReferencedSOPInstanceUID = document.instance
    series.SeriesInstanceUID = document.series
    series.ReferencedSOPSequence = Items([instance])
    found.StudyInstanceUID = study
    found.ReferencedSeriesSequence = Items([series])
    return found


def create_measurement(name: Concept, value: float) -> sr.Measurement:
    """A figure without a unit."""
    return sr.Measurement(name, value, vocabulary.UNITLESS)


def add_statement(group: sr.MeasurementsAndQualitativeEvaluations, statement: str) -> None:
    """Adds the statement as text."""
    text = sr.TextContentItem(
        name=vocabulary.STATEMENT,
        value=statement,
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )
    group[0].ContentSequence.append(text)
