"""The object that was certified: what its results copy from it, and what names them."""

import hashlib
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from app.dicom.rules import Rule
from app.dicom.spool import Uids
from worker.contract.certificate.document import FinishedResult

SERIES_DESCRIPTION = "Robustness certificate, research only"
_COPIED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)
_MUST_BE_THERE = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Patient and study modules, type 2: empty where the source has none."""


def load_source(path: Path | BytesIO) -> Dataset:
    """The object without its pixels."""
    source = dcmread(path, stop_before_pixels=True)
    add_missing(source)
    return source


def add_missing(header: Dataset) -> None:
    """Adds what patient and study modules must have, empty."""
    for keyword in _MUST_BE_THERE:
        if keyword not in header:
            setattr(header, keyword, "")


def read_uids(header: Dataset) -> Uids:
    """The UIDs of an object."""
    return Uids(
        sop_class=header.SOPClassUID,
        instance=header.SOPInstanceUID,
        series=header.SeriesInstanceUID,
        study=header.StudyInstanceUID,
    )


def outline(uids: Uids) -> Dataset:
    """An object by its UIDs alone, with an empty header."""
    named = Dataset()
    named.SOPClassUID, named.SOPInstanceUID = uids.sop_class, uids.instance
    named.SeriesInstanceUID, named.StudyInstanceUID = uids.series, uids.study
    add_missing(named)
    return named


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copies patient and study, and the character set that they are written in."""
    for keyword in ("SpecificCharacterSet", *_COPIED):
        if keyword in source:
            target[keyword] = source[keyword]


def result_digest(result: FinishedResult) -> str:
    """Names what certificates say, whoever asked for them and however often."""
    content = result.model_dump_json(exclude={"signature"})
    return hashlib.sha256(content.encode()).hexdigest()


def derive_uid(*parts: str) -> UID:
    """A UID that is a function of these texts (PS3.5 B.2): written twice, it is the same object."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16])}")


def derive_result_uids(
    kind: str, source: Dataset, result: FinishedResult, rule: Rule
) -> tuple[UID, UID]:
    """Series and instance of a result; all of a rule's reports on a series are one series."""
    series = derive_uid("series", kind, source.SeriesInstanceUID, rule.digest)
    instance = derive_uid(kind, source.SOPInstanceUID, rule.digest, result_digest(result))
    return series, instance


def refer_to(source: Dataset) -> Dataset:
    """A reference to an object by its SOP class and itself."""
    about = Dataset()
    about.ReferencedSOPClassUID = source.SOPClassUID
    about.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return about


def says_no_text(header: Dataset) -> bool:
    """Whether a header says that no text is burned into its pixels; many say nothing about it."""
    return str(header.get("BurnedInAnnotation", "")).strip() == "NO"


def set_made(target: Dataset, made: str) -> None:
    """Dates the content by the moment at which its certification was asked for."""
    moment = datetime.fromisoformat(made)
    target.ContentDate = target.SeriesDate = moment.strftime("%Y%m%d")
    target.ContentTime = target.SeriesTime = moment.strftime("%H%M%S.%f")
    target.InstanceCreationDate, target.InstanceCreationTime = (
        target.ContentDate,
        target.ContentTime,
    )
    target.TimezoneOffsetFromUTC = moment.strftime("%z") or "+0000"


def to_bytes(made: Dataset) -> bytes:
    """The object as a Part 10 file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta = meta
    written = BytesIO()
    dcmwrite(written, made, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return written.getvalue()
