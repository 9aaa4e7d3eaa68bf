"""A series is answered together: when its images have ended, and again when that changes."""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from app.client import Certification, Client
from app.dicom.certifying import Certifying
from app.dicom.documents.joint_report import SeriesImage, create_joint_report
from app.dicom.documents.source import load_source, read_uids, to_bytes
from app.dicom.instance import read_instance
from app.dicom.objects import Objects
from app.dicom.settings import DicomSettings
from app.dicom.spool import Document
from app.dicom.writing import Answer, AnswerUnusable, write_series
from worker.contract.certificate.document import parse_document

from .conftest import create_rules
from .test_results import items

RULES = create_rules({"joint": True, "request": {"sigma": ["0.5"], "alpha": "0.001"}})
SAMPLES = Path(__file__).parents[2] / "frozen" / "samples" / "certificates"
MADE = "2026-11-30T08:09:10+00:00"


def create_result(*, alpha="0.0001", **changes):
    """A result whose certificates hold together."""
    result = parse_document(json.loads((SAMPLES / "several-sigmas.json").read_text()))
    count = len(result.certificates)
    certificates = tuple(
        one.model_copy(
            update={
                "joint": True,
                "certificates_in_request": count,
                "alpha": Decimal(alpha),
                **changes,
            }
        )
        for one in result.certificates
    )
    return result.model_copy(update={"certificates": certificates})


@pytest.fixture
def series(spool, write):
    """Sends images of one series; works on what is due, with an answer that ends differently."""

    class Series:
        moment = 1000.0

        def send(self, *numbers):
            for number in numbers:
                sent = write(f"s{number}", SOPInstanceUID=f"1.2.{number}", InstanceNumber=number)
                received = spool.folder / "incoming" / f"{number}.dcm"
                shutil.copy(sent, received)
                spool.accept(received, read_instance(sent), RULES.rules)

        def settle(self):
            self.moment += 31
            spool.choose_complete_series(30)

        def certify(self, count):
            for place in range(count):
                task = spool.find_due("waiting")
                spool.submitted(task, str(place))
                task = spool.find_due("certifying")
                answer = Answer(made=MADE, result=create_result(attempts=task.further + 1))
                report = Document("1", "2", f"{task.key}.{task.further}")
                spool.put_results(task, {report: b"report"}, answer=answer.to_bytes())

        def join(self):
            """The joint report, which is delivered; None if it has to wait."""
            self.moment += 31
            task = spool.find_due("joining")
            members = None if task is None else spool.list_members(task)
            if members is None:
                return None
            objects = Objects(RULES, DicomSettings(), spool)
            spool.put_results(task, results := write_series(task, members, objects))
            (content,) = results.values()
            self.deliver()
            return dcmread(DicomBytesIO(content))

        def deliver(self):
            while (task := spool.find_due("owed")) is not None:
                spool.delivered(task, [])

    series = Series()
    spool.clock = lambda: series.moment
    return series


def test_a_series_has_one_answer_when_its_last_image_has_one(series, spool):
    series.send(1, 2, 3)
    assert series.join() is None
    series.settle()
    series.certify(2)
    series.deliver()
    assert series.join() is None
    series.certify(1)
    report = series.join()
    (images,) = {item.MeasuredValueSequence[0].NumericValue for item in items(report, "images")}
    assert images == 3
    about = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = {one.ReferencedSOPInstanceUID for one in about.ReferencedSOPSequence}
    assert named == {"1.2.1", "1.2.2", "1.2.3"}
    assert "PredecessorDocumentsSequence" not in report
    assert spool.count_states() == {"done": 4}
    assert list((spool.folder / "objects").iterdir()) == []
    assert series.join() is None


def test_alpha_is_divided_among_the_images_of_a_series_and_its_sum_is_said(series, spool):
    series.send(1, 2, 3)
    series.settle()
    (rule,) = RULES.rules
    task = spool.find_due("waiting")
    share = Decimal(rule.divide_alpha(task.alpha_parts))
    assert Decimal("0.000333333") == share
    assert 3 * share <= Decimal("0.001")
    series.certify(3)
    report = series.join()
    (alpha,) = {item.MeasuredValueSequence[0].NumericValue for item in items(report, "alpha")}
    assert alpha == 0.0003  # what the certificates say, thrice


def test_late_images_make_a_new_report_that_names_the_one_before(series, spool):
    series.send(1, 2)
    series.settle()
    series.certify(2)
    first = series.join()
    series.send(3)
    assert series.join() is None
    series.settle()
    series.certify(1)
    second = series.join()
    (before,) = second.PredecessorDocumentsSequence
    (of_series,) = before.ReferencedSeriesSequence
    (document,) = of_series.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == first.SOPInstanceUID != second.SOPInstanceUID
    assert of_series.SeriesInstanceUID == first.SeriesInstanceUID == second.SeriesInstanceUID
    assert before.StudyInstanceUID == second.StudyInstanceUID
    counts = {item.MeasuredValueSequence[0].NumericValue for item in items(second, "images")}
    assert counts == {3}


def test_an_image_that_was_given_up_counts_against_every_class(series, spool):
    series.send(1, 2, 3)
    series.settle()
    spool.give_up(spool.find_due("waiting"), "it is broken")
    series.certify(2)
    report = series.join()
    for name, expected in (("images", 3), ("images-certified", 2), ("images-other", 1)):
        found = {item.MeasuredValueSequence[0].NumericValue for item in items(report, name)}
        assert found == {expected}, name
    assert spool.retry_dead() == 1
    series.certify(1)
    assert series.join().PredecessorDocumentsSequence


def test_another_attempt_on_an_image_makes_another_joint_report(series, spool, write):
    series.send(1, 2)
    series.settle()
    series.certify(2)
    first = series.join()
    sent = write("again", SOPInstanceUID="1.2.1", InstanceNumber=1)
    assert spool.renew(sent, read_instance(sent), RULES.rules, "continue") == 0
    assert spool.renew(sent, read_instance(sent), RULES.rules, "again") == 1
    task = spool.find_due("waiting")
    assert (task.further, task.submission, task.alpha_parts) == (1, 1, 2)
    assert task.predecessor == Document("1", "2", f"{task.key}.0")
    series.certify(1)
    second = series.join()
    assert second.PredecessorDocumentsSequence
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert any("up to 2 attempts" in item.TextValue for item in items(second, "121106"))


def test_results_that_are_made_again_ask_for_no_other_joint_report(series, spool):
    series.send(1, 2)
    series.settle()
    series.certify(2)
    (task, _) = [spool.find_due("owed") for _ in range(2)]
    assert series.join() is not None
    states = spool.count_states()
    spool.make_again(task)
    task = spool.find_due("certifying")
    answer = Answer(made=MADE, result=create_result(attempts=1))
    spool.put_results(task, {Document("1", "2", "3"): b"report"}, answer=answer.to_bytes())
    assert spool.find_due("joining") is None
    assert sum(spool.count_states().values()) == sum(states.values()) == 3


def work_on_the_series(spool):
    """Works as the node does on what is due; why the series has no report, as `status` says it."""
    objects, settings = Objects(RULES, DicomSettings(), spool), DicomSettings()
    with Client("http://127.0.0.1:9", patience_s=0) as client:
        assert Certifying(client, objects, settings, spool).step()
    return [(row[2], row[4]) for row in spool.list_troubled()]


def change_answer(spool, **changes):
    """One more answer of an image, which the joint report of its series waits for."""
    task, result = spool.find_due("waiting"), create_result()
    spool.submitted(task, "1")
    kept = Answer(made=MADE, result=result.model_copy(update=changes)).to_bytes()
    spool.put_results(spool.find_due("certifying"), {Document("1", "2", "3"): b"r"}, answer=kept)


def test_status_says_why_the_images_of_a_series_cannot_be_joined(series, spool):
    series.send(1, 2)
    series.settle()
    series.certify(1)
    model = create_result().model
    change_answer(spool, model=model.model_copy(update={"sha256": "0" * 64}))
    said = "the images cannot be joined: the requests differ in the weights of their model"
    assert work_on_the_series(spool) == [("joining", said)]


def test_status_says_that_the_alphas_of_a_series_sum_up_to_too_much(series, spool):
    series.send(1, 2)
    series.settle()
    for _ in range(2):
        change_answer(spool, certificates=create_result(alpha="0.4").certificates)
    ((state, said),) = work_on_the_series(spool)
    assert state == "joining"
    assert said.startswith("the images cannot be joined: alpha: ")


def test_status_says_that_a_certificate_which_was_kept_is_of_another_release(series, spool):
    series.send(1)
    series.settle()
    spool.submitted(spool.find_due("waiting"), "1")
    report = {Document("1", "2", "3"): b"report"}
    spool.put_results(spool.find_due("certifying"), report, answer=b'{"made": "then"}')
    said = "a certificate of the series is of another release: have its image tried again"
    assert work_on_the_series(spool) == [("joining", said)]


def test_an_answer_of_another_release_is_said_to_be_one():
    content = b'{"id": "1", "status": "finished", "submitted_at": "2026-11-30T08:09:10Z"}'
    with pytest.raises(AnswerUnusable, match="no finished certification of this version"):
        Answer.of(Certification.parse(content))


def test_the_middle_image_alone_is_no_series():
    with pytest.raises(ValidationError, match="leave joint out"):
        create_rules({"joint": True, "middle": True})


def test_a_joint_report_is_the_same_whenever_it_is_written(write):
    source, (rule,) = load_source(write()), RULES.rules
    images = [SeriesImage(uids=read_uids(source), frame=None, result=create_result())]
    first, again = (
        to_bytes(create_joint_report(source, images, rule, made=MADE)) for _ in range(2)
    )
    assert first == again
