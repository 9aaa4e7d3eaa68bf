"""The printed report as an Encapsulated PDF in the study (PS3.3 A.45.1)."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EncapsulatedPDFStorage

from app.dicom.documents.source import (
    SERIES_DESCRIPTION,
    copy_patient_and_study,
    derive_result_uids,
    refer_to,
    says_no_text,
    set_made,
)
from app.dicom.instance import MANUFACTURER, read_number
from app.dicom.rules import Rule
from worker.contract.certificate.document import FinishedResult


def create_pdf(
    source: Dataset, result: FinishedResult, rule: Rule, page: bytes, *, made: str
) -> Dataset:
    """The report of a certification, beside the object that it is about.

    Its page shows the image, and whatever text the image shows, but for a rule with pseudonyms.
    """
    pdf = Dataset()
    copy_patient_and_study(source, pdf)
    series, instance = derive_result_uids("pdf", source, result, rule)
    pdf.SOPClassUID, pdf.SOPInstanceUID = EncapsulatedPDFStorage, instance
    pdf.SeriesInstanceUID, pdf.SeriesNumber, pdf.Modality = series, 9901, "DOC"
    pdf.SeriesDescription = SERIES_DESCRIPTION
    pdf.Manufacturer, pdf.ConversionType = MANUFACTURER, "SYN"
    pdf.InstanceNumber = max(1, read_number(source, "InstanceNumber", 1))
    set_made(pdf, made)
    pdf.AcquisitionDateTime = ""
    pdf.BurnedInAnnotation = "NO" if rule.pseudonymise or says_no_text(source) else "YES"
    pdf.DocumentTitle = SERIES_DESCRIPTION
    pdf.ConceptNameCodeSequence = Sequence()
    pdf.VerificationFlag = "UNVERIFIED"
    pdf.SourceInstanceSequence = Sequence([refer_to(source)])
    pdf.MIMETypeOfEncapsulatedDocument = "application/pdf"
    pdf.EncapsulatedDocumentLength = len(page)
    pdf.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    return pdf
