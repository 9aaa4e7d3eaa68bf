"""Takes a study from a PACS: by DICOMweb into the spool, or by C-MOVE to the node."""

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.dicom.audit import Audit
from app.dicom.instance import InstanceUnreadable, read_instance
from app.dicom.rules import CMove, Rules
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, SpoolDraining, SpoolFull, digest
from app.dicom.web import Web, WebRefused
from models.files.audit_log import AuditLogUnavailable

Renew = Literal["again", "continue"]
_TIMEOUT_S = 600.0
_WITHOUT_IMAGES = frozenset(
    {"AU", "DOC", "ECG", "HD", "KO", "PR", "REG", "RTPLAN", "RTSTRUCT", "SR"}
)


class NotFetched(ValueError):
    """A study did not come whole; the sentence says why. To ask again does no harm."""


def fetch(
    rules: Rules,
    source_name: str,
    spool: Spool,
    settings: DicomSettings,
    *,
    study: str,
    series: str | None,
    instance: str | None,
    renew: Renew | None = None,
) -> tuple[int, int]:
    """Fetches a study, a series or an instance; the rules choose among what comes.

    Args:
        renew: what becomes of images that have their results: nothing, another attempt ("again"),
            or more samples ("continue").

    Returns:
        how many objects the source has, and how many tasks are new or go on. By C-MOVE they come to
        the node by themselves, and the second number is 0.

    Raises:
        NotFetched: the source is not known, or did not give everything.
    """
    source = rules.sources.get(source_name)
    if source is None:
        raise NotFetched(f"{source_name}: there is no such source in the rules")
    if isinstance(source, CMove):
        if renew is not None:
            raise NotFetched(f"{source_name}: only a source by DICOMweb can renew results")
        return _move(source, settings.ae_title, study, series, instance), 0
    audit = Audit(settings)
    try:
        with Web(source) as web:
            found = web.find_instances(study, series, instance)
            new = 0
            for one in found:
                content = web.fetch(study, *one, most_bytes=settings.max_object_bytes)
                new += accept(rules, spool, content, source.ae_title, audit, renew)
    except (WebRefused, InstanceUnreadable) as error:
        raise NotFetched(f"{source_name}: {error}") from None
    except SpoolFull:
        raise NotFetched("the spool is full: fetch again when results are delivered") from None
    except AuditLogUnavailable:
        raise NotFetched("the audit log cannot be written: fetch again when it can") from None
    except SpoolDraining:
        raise NotFetched("the spool drains: fetch again after promptsmooth dicom resume") from None
    return len(found), new


def accept(
    rules: Rules,
    spool: Spool,
    content: bytes,
    ae_title: str,
    audit: Audit,
    renew: Renew | None = None,
) -> int:
    """Takes an object that `ae_title` gave into the spool; returns how many tasks it has to do.

    Raises:
        InstanceUnreadable: it is no object that can be told from others.
        SpoolFull, SpoolDraining, OSError: it cannot be kept or recorded now.
    """
    handle, name = tempfile.mkstemp(dir=spool.folder / "incoming")
    received = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        described = read_instance(received)
        found, name = rules.find(described, ae_title), digest(described.sop_instance_uid)

        def record(count: int) -> None:
            audit.record("fetched", source=ae_title, object=name, new=count)

        if not found:
            return 0
        if renew is not None and (
            renewed := spool.renew(received, described, found, renew, record=record)
        ):
            return renewed
        return spool.accept(received, described, found, record=record)
    finally:
        received.unlink(missing_ok=True)


def _move(
    source: CMove, ae_title: str, study: str, series: str | None, instance: str | None
) -> int:
    """Has the PACS send everything to the node; returns how many objects it sent."""
    ae = AE(ae_title=ae_title)
    ae.dimse_timeout = ae.network_timeout = _TIMEOUT_S
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    association = ae.associate(source.host, source.port, ae_title=source.ae_title)
    if not association.is_established:
        raise NotFetched("no association: the source is away or does not accept this AE")
    try:
        every = [series] if series is not None else _find_series(association, study)
        return sum(
            _move_one(association, ae_title, _create_keys(study, one, instance)) for one in every
        )
    finally:
        association.release()


def _find_series(association: Association, study: str) -> list[str]:
    """The series of a study that may have images. A PACS fails a whole move for one report."""
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "SERIES", study
    keys.SeriesInstanceUID = keys.Modality = ""
    answers = list(association.send_c_find(keys, StudyRootQueryRetrieveInformationModelFind))
    if not answers or answers[-1][0].get("Status") != 0:
        raise NotFetched("C-FIND did not end with success")
    return [
        str(one.get("SeriesInstanceUID", ""))
        for _, one in answers
        if one is not None and str(one.get("Modality", "")) not in _WITHOUT_IMAGES
    ]


def _move_one(association: Association, ae_title: str, keys: Dataset) -> int:
    model = StudyRootQueryRetrieveInformationModelMove
    answers = list(association.send_c_move(keys, ae_title, model))
    last = answers[-1][0] if answers else Dataset()
    failed = int(last.get("NumberOfFailedSuboperations", 0))
    if last.get("Status") != 0 or failed:
        said = f"0x{last.Status:04X}" if "Status" in last else "nothing"
        lost = f"; {failed} objects were not sent" if failed else ""
        raise NotFetched(f"C-MOVE was answered with {said}{lost}")
    return int(last.get("NumberOfCompletedSuboperations", 0))


def _create_keys(study: str, series: str, instance: str | None) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "SERIES", study
    keys.SeriesInstanceUID = series
    if instance is not None:
        keys.QueryRetrieveLevel, keys.SOPInstanceUID = "IMAGE", instance
    return keys
