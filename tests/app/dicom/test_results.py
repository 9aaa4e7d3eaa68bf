"""What the study gets says what the certificate says, and is the same whenever it is made."""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
)

from app.dicom.documents.capture import create_capture
from app.dicom.documents.pdf import create_pdf
from app.dicom.documents.pseudonyms import Pseudonyms, SaltUnusable, load_pseudonyms
from app.dicom.documents.report import create_report
from app.dicom.documents.source import load_source, result_digest, to_bytes
from app.dicom.documents.vocabulary import SCHEME, code_class
from app.dicom.instance import read_instance
from app.dicom.objects import Objects
from app.dicom.settings import DicomSettings
from app.dicom.spool import Document
from app.dicom.writing import Answer, write_image
from worker.contract.certificate.document import parse_document

from .conftest import create_rules

SAMPLES = Path(__file__).parents[2] / "frozen" / "samples" / "certificates"
MADE = "2026-11-30T08:09:10.5+00:00"
PAGE = b"%PDF-1.7 a page"


@pytest.fixture(params=["several-sigmas", "cohen", "routed"])
def result(request):
    return parse_document(json.loads((SAMPLES / f"{request.param}.json").read_text()))


@pytest.fixture
def source(write):
    return load_source(write(PatientName="Müller^Ä", SpecificCharacterSet="ISO_IR 192"))


def read(made):
    return dcmread(DicomBytesIO(to_bytes(made)))


def items(container, name):
    """The content items of this name, however deep."""
    for item in container.get("ContentSequence", ()):
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeValue == name:
            yield item
        yield from items(item, name)


def test_a_report_has_every_certificate_and_every_figure(source, result):
    rule = create_rules().rules[0]
    report = read(create_report(source, result, rule, made=MADE))
    said = [item.TextValue for item in items(report, "121106")]
    assert said == [one.statement for one in result.certificates]
    for name, figures in {
        "sigma": [one.sigma for one in result.certificates],
        "alpha": [one.alpha for one in result.certificates],
        "n": [one.n_used for one in result.certificates],
        "attempts": [one.attempts for one in result.certificates],
        "radius": [one.radius for one in result.certificates if one.outcome == "certified"],
    }.items():
        measured = [item.MeasuredValueSequence[0].NumericValue for item in items(report, name)]
        assert [Decimal(str(one)) for one in measured] == list(map(Decimal, figures)), name
    outcomes = [item.ConceptCodeSequence[0].CodeValue for item in items(report, "outcome")]
    assert outcomes == [one.outcome for one in result.certificates]
    assert len(list(items(report, "prediction"))) == outcomes.count("certified")


def test_results_are_of_the_same_patient_and_study_and_of_series_of_their_own(source, result):
    rule = create_rules().rules[0]
    report = read(create_report(source, result, rule, made=MADE))
    pdf = read(create_pdf(source, result, rule, PAGE, made=MADE))
    for made in (report, pdf):
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "PatientSex"):
            assert made[keyword].value == source[keyword].value, keyword
        assert made.SeriesDescription == "Robustness certificate, research only"
        assert "PixelData" not in made
    series = {source.SeriesInstanceUID, report.SeriesInstanceUID, pdf.SeriesInstanceUID}
    assert len(series) == 3
    flags = (report.PreliminaryFlag, report.VerificationFlag, pdf.VerificationFlag)
    assert flags == ("PRELIMINARY", "UNVERIFIED", "UNVERIFIED")
    assert pdf.EncapsulatedDocument[: pdf.EncapsulatedDocumentLength] == PAGE


def test_written_twice_is_written_once(source, result):
    rule, other = create_rules({}, {"name": "other"}).rules
    first, again = (to_bytes(create_report(source, result, rule, made=MADE)) for _ in range(2))
    assert first == again
    pages = [to_bytes(create_pdf(source, result, rule, PAGE, made=MADE)) for _ in range(2)]
    assert pages[0] == pages[1]
    report = create_report(source, result, rule, made=MADE)
    for another in (
        create_report(source, result, other, made=MADE),
        create_pdf(source, result, rule, PAGE, made=MADE),
    ):
        assert another.SOPInstanceUID != report.SOPInstanceUID


def test_a_further_attempt_is_another_document(source, result):
    rule = create_rules().rules[0]
    certificates = tuple(
        c.model_copy(update={"attempts": c.attempts + 1}) for c in result.certificates
    )
    second = result.model_copy(update={"certificates": certificates})
    assert result_digest(result) != result_digest(second)
    made = [create_report(source, one, rule, made=MADE) for one in (result, second)]
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID
    unsigned = result.model_copy(update={"signature": None})
    assert result_digest(result) == result_digest(unsigned)


def test_a_class_has_the_codes_of_the_lab_or_one_of_our_own():
    code = {"scheme": "SCT", "value": "233604007", "meaning": "Pneumonia"}
    (rule,) = create_rules({"codes": {"pneumonia": code}}).rules
    coded = code_class("pneumonia", rule)
    assert (coded.value, coded.scheme_designator) == ("233604007", "SCT")
    own = code_class("normal\\ lungs" * 20, rule)
    assert own.scheme_designator == SCHEME
    assert len(own.meaning) <= 64
    assert "\\" not in own.meaning
    assert own == code_class("normal\\ lungs" * 20, rule) != code_class("other", rule)


def test_a_source_with_an_empty_header_still_gets_its_results(write, result):
    source = load_source(write())
    for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyID"):
        setattr(source, keyword, "")
    rule = create_rules().rules[0]
    for number in (None, [4, 5]):
        source.InstanceNumber = number
        assert read(create_report(source, result, rule, made=MADE)).InstanceNumber == 1
        assert read(create_pdf(source, result, rule, PAGE, made=MADE)).InstanceNumber == 1


def test_a_report_names_its_predecessor(source, result):
    rule, before = create_rules().rules[0], Document("1.2.840", "1.2.3", "1.2.4")
    report = read(create_report(source, result, rule, made=MADE, predecessor=before))
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (one,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == source.StudyInstanceUID
    named = (one.ReferencedSOPClassUID, series.SeriesInstanceUID, one.ReferencedSOPInstanceUID)
    assert named == ("1.2.840", "1.2.3", "1.2.4")


def test_a_capture_shows_the_answer_in_white_on_black(source, result):
    rule = create_rules().rules[0]
    first, again = (to_bytes(create_capture(source, result, rule, made=MADE)) for _ in range(2))
    assert first == again
    capture = dcmread(DicomBytesIO(first))
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns)
    lines = [row.max() for row in capture.pixel_array]
    assert {0, 255} <= set(lines)
    assert capture.StudyInstanceUID == source.StudyInstanceUID
    (about,) = capture.SourceImageSequence
    assert about.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_pseudonyms_are_functions_of_the_salt_and_name_nobody(source, result):
    salt, other = Pseudonyms(b"a salt of a lab."), Pseudonyms(b"another lab's...")
    hidden = salt.hide(source)
    rule = create_rules().rules[0]
    report = read(create_report(hidden, result, rule, made=MADE))
    assert report.PatientID == salt.name_patient(source.PatientID)
    assert report.PatientID != other.name_patient(source.PatientID)
    assert report.PatientIdentityRemoved == "YES"
    written = to_bytes(create_report(hidden, result, rule, made=MADE))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID", "StudyDate"):
        assert str(source[keyword].value).encode() not in written, keyword
    again = salt.hide(source)
    assert [again[k].value for k in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")] == [
        hidden[k].value for k in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    ]
    with pytest.raises(SaltUnusable, match="at least 16 bytes, got 3"):
        Pseudonyms(b"abc")
    with pytest.raises(SaltUnusable, match="PSEUDONYM_SALT_FILE"):
        load_pseudonyms(None)


def test_patients_are_one_only_if_id_and_issuer_are_and_without_an_id_only_in_a_study(write):
    salt = Pseudonyms(b"a salt of a lab.")

    def name(place, **elements):
        return salt.hide(load_source(write(place, **elements))).PatientID

    here = name("a", PatientID="4711", IssuerOfPatientID="NORTH")
    there = name("b", PatientID="4711", IssuerOfPatientID="SOUTH")
    plain = name("c", PatientID="4711")
    assert len({here, there, plain}) == 3
    assert (here, plain) == (salt.name_patient("4711", "NORTH"), salt.name_patient("4711"))
    assert name("d", PatientID="4711", StudyInstanceUID="1.2.9") == plain
    one, other = (name(p, PatientID="", StudyInstanceUID=f"1.2.{p}") for p in "12")
    assert one != other
    assert one == name("3", PatientID=None, StudyInstanceUID="1.2.1", SOPInstanceUID="1.2.3")


@pytest.mark.parametrize("said", ["NO", "YES", None])
def test_a_page_says_of_burned_in_text_what_its_image_says_and_fears_it_where_it_says_nothing(
    write, result, said
):
    source = load_source(write(**({} if said is None else {"BurnedInAnnotation": said})))
    pdf = read(create_pdf(source, result, create_rules().rules[0], PAGE, made=MADE))
    assert pdf.BurnedInAnnotation == ("NO" if said == "NO" else "YES")


@pytest.fixture
def write_results(spool, write, tmp_path, result):
    """The results of a CT slice, with a capture, by SOP class."""
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    settings = DicomSettings(pseudonym_salt_file=tmp_path / "salt")

    def make(*, pseudonymise, **elements):
        rules = create_rules({"pseudonymise": pseudonymise, "capture": True})
        sent = write("sent", **elements)
        received = shutil.copy(sent, spool.folder / "incoming" / "a.dcm")
        spool.accept(received, read_instance(sent), rules.rules)
        task, answer = spool.find_due("waiting"), Answer(made=MADE, result=result)
        made = write_image(task, answer, PAGE, Objects(rules, settings, spool))
        spool.delivered(task, [])
        return {document.sop_class: dcmread(DicomBytesIO(c)) for document, c in made.items()}

    return make


@pytest.mark.parametrize(
    ("pseudonymise", "elements", "said"),
    [
        (False, {}, "YES"),
        (True, {}, "NO"),
        (True, {"BurnedInAnnotation": "YES"}, "NO"),
    ],
)
def test_beside_pseudonyms_the_page_shows_no_image_and_so_no_burned_in_text(
    write_results, pseudonymise, elements, said
):
    results = write_results(pseudonymise=pseudonymise, **elements)
    capture = SecondaryCaptureImageStorage
    assert results.keys() == {Comprehensive3DSRStorage, EncapsulatedPDFStorage, capture}
    assert results[EncapsulatedPDFStorage].BurnedInAnnotation == said


def test_beside_pseudonyms_dates_say_the_year_alone(write_results):
    results = write_results(pseudonymise=True)
    assert len(results) == 3
    for made in results.values():
        dates = {str(e.value) for e in made.iterall() if e.VR in ("DA", "DT") and e.value}
        times = {str(e.value) for e in made.iterall() if e.VR == "TM" and e.value}
        assert dates <= {"20260101", "20260101000000.000000"}, made.SOPClassUID.name
        assert times == {"000000.000000"}, made.SOPClassUID.name
    named = write_results(pseudonymise=False)
    assert {made.ContentDate for made in named.values()} == {"20261130"}
