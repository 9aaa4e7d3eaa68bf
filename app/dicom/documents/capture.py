"""The answer as a picture, for viewers that show neither reports nor PDF (PS3.3 A.8.1)."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

from app.dicom.documents.source import (
    SERIES_DESCRIPTION,
    copy_patient_and_study,
    derive_result_uids,
    refer_to,
    set_made,
)
from app.dicom.instance import MANUFACTURER, read_number
from app.dicom.rules import Rule
from worker.contract.certificate.document import (
    CertificateDocument,
    CertifiedDocument,
    FinishedResult,
)

_WIDTH, _LINE, _MARGIN, _CHARACTERS = 1024, 30, 32, 78  # pixels, but for the last
_FONT_SIZE = 22


def create_capture(source: Dataset, result: FinishedResult, rule: Rule, *, made: str) -> Dataset:
    """White text on black, one image: outcome, class, radius and statement of each certificate."""
    pixels = _draw(_write_lines(result))
    capture = Dataset()
    copy_patient_and_study(source, capture)
    series, instance = derive_result_uids("capture", source, result, rule)
    capture.SOPClassUID, capture.SOPInstanceUID = SecondaryCaptureImageStorage, instance
    capture.SeriesInstanceUID, capture.SeriesNumber, capture.Modality = series, 9903, "OT"
    capture.SeriesDescription = SERIES_DESCRIPTION
    capture.Manufacturer, capture.ConversionType = MANUFACTURER, "WSD"
    capture.InstanceNumber = max(1, read_number(source, "InstanceNumber", 1))
    capture.PatientOrientation = capture.Laterality = ""
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.BurnedInAnnotation = "NO"
    capture.SourceImageSequence = Sequence([_refer_to(source, result)])
    set_made(capture, made)
    capture.SamplesPerPixel, capture.PhotometricInterpretation = 1, "MONOCHROME2"
    capture.Rows, capture.Columns = pixels.shape
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    content = pixels.tobytes()
    capture.PixelData = content + b"\0" * (len(content) % 2)
    return capture


def _refer_to(source: Dataset, result: FinishedResult) -> Dataset:
    """The image, by its frame where it has several (PS3.3 table 10-3)."""
    about = refer_to(source)
    if result.input.frames > 1:
        about.ReferencedFrameNumber = result.input.frame + 1
    return about


def _write_lines(result: FinishedResult) -> list[str]:
    about = result.input
    frame = [f"Frame {about.frame + 1} of {about.frames}"] if about.frames > 1 else []
    lines = ["Robustness certificate - research use only, preliminary, unverified", *frame, ""]
    for certificate in result.certificates:
        lines += [_summarise(certificate)]
        lines += [*textwrap.wrap(certificate.statement, _CHARACTERS), ""]
    return lines


def _summarise(certificate: CertificateDocument) -> str:
    asked = f"{certificate.prompting}, sigma {certificate.sigma:f}"
    if isinstance(certificate, CertifiedDocument):
        return f"{asked}: {certificate.prediction}, radius {certificate.radius:f}"
    return f"{asked}: abstained, no class"


def _draw(lines: list[str]) -> np.ndarray:
    """uint8 (H, W)."""
    height = 2 * _MARGIN + _LINE * len(lines)
    image = Image.new("L", (_WIDTH, height))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_SIZE)
    for place, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + _LINE * place), line, fill=255, font=font)
    return np.asarray(image)
