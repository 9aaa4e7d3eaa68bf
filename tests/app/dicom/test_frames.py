"""Frames of one object: chosen by a rule, certified each as an image, and answered together."""

import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.client import Client
from app.dicom.certifying import Certifying
from app.dicom.documents.capture import create_capture
from app.dicom.documents.source import load_source
from app.dicom.instance import read_instance
from app.dicom.objects import Objects
from app.dicom.settings import DicomSettings
from app.dicom.spool import Document, Spool
from app.dicom.writing import Answer, write_series

from .conftest import create_rules
from .test_joint import MADE, create_result
from .test_results import items

ALL = create_rules({"frame": "all"})
JOINT = create_rules(
    {"frame": {"at_most": 2}, "joint": True, "request": {"sigma": ["0.5"], "alpha": "0.001"}}
)
FILE = """
[destinations.pacs]
kind = "stow"
url = "http://127.0.0.1:9/dicom-web"
[[rules]]
name = "cine"
request = { sigma = ["0.25"] }
frame = FRAME
send_to = ["pacs"]
"""


@pytest.fixture
def accept(spool, write):
    """Sends an object of so many frames to the spool; how many tasks it made, and what it said."""

    def send(name="a", frames=3, rules=ALL, **elements):
        uid = f"1.2.{1000 + ord(name)}"
        sent = write(name, SOPInstanceUID=uid, NumberOfFrames=frames, **elements)
        received, said = spool.folder / "incoming" / f"{name}.dcm", []
        shutil.copy(sent, received)
        instance = read_instance(sent)
        return spool.accept(received, instance, rules.rules, record=said.append), said

    return send


def certify_all(spool):
    """Gives each image that waits an answer about its frame."""
    while (task := spool.find_due("waiting", "certifying")) is not None:
        result = create_result(attempts=task.further + 1)
        about = {"frame": task.frame or 0, "frames": task.frames}
        result = result.model_copy(update={"input": result.input.model_copy(update=about)})
        answer = Answer(made=MADE, result=result).to_bytes()
        report = Document("1", "2", f"{task.key}.{task.further}")
        spool.put_results(task, {report: b"report"}, answer=answer if task.rule.joint else None)


def join(spool, rules):
    """The joint report of the series, which is delivered with all else."""
    task = spool.find_due("joining")
    objects = Objects(rules, DicomSettings(), spool)
    results = write_series(task, spool.list_members(task), objects)
    spool.put_results(task, results)
    while (owed := spool.find_due("owed")) is not None:
        spool.delivered(owed, [])
    (content,) = results.values()
    return dcmread(DicomBytesIO(content))


def read_figure(report, name):
    """The only value of a measurement."""
    (figure,) = {item.MeasuredValueSequence[0].NumericValue for item in items(report, name)}
    return figure


@pytest.mark.parametrize(
    ("frame", "chosen"),
    [
        ("all", range(10)),
        ({}, range(10)),
        ({"every": 4}, [0, 4, 8]),
        ({"at_most": 3}, [0, 3, 6]),
        ({"at_most": 99}, range(10)),
        ({"every": 2, "at_most": 2}, [0, 4]),
        ("middle", [None]),
        (2, [None]),
        (None, [None]),
    ],
)
def test_several_frames_are_chosen_as_images_of_a_series_are(frame, chosen):
    (rule,) = create_rules({"frame": frame}).rules
    assert list(rule.choose_frames(10)) == list(chosen)
    assert list(rule.choose_frames(1)) == [None]


@pytest.mark.parametrize(
    ("frame", "frames", "objection"),
    [
        (None, 9, "it has several frames, and the rule names none"),
        (9, 9, "it has no frame 9, counted from 0"),
        ("all", 1001, "the rule takes more than 1000 of its frames: say at_most in frame"),
        ("all", 1000, None),
        ({"at_most": 1000}, 10**9, None),
        ("middle", 9, None),
        (None, 1, None),
    ],
)
def test_a_rule_says_why_it_has_no_frame_of_an_object(frame, frames, objection):
    (rule,) = create_rules({"frame": frame}).rules
    assert rule.find_frame_objection(frames) == objection


@pytest.mark.parametrize(
    "frame", ["some", {"every": 0}, {"at_most": 0}, {"at_most": 1001}, {"first": 3}, True, -1]
)
def test_what_a_choice_of_frames_cannot_mean_is_refused(frame):
    with pytest.raises(ValidationError, match="frame"):
        create_rules({"frame": frame})


def test_the_frames_of_the_middle_image_are_joined_and_one_frame_is_not():
    create_rules({"middle": True, "joint": True, "frame": "all"})
    with pytest.raises(ValidationError, match="leave joint out"):
        create_rules({"middle": True, "joint": True, "frame": "middle"})


@pytest.mark.parametrize(
    ("rule", "digest"),
    [
        ({}, "cbaa5a42d29d817fc4c27b6bddb879189805cafa94f8ef54a7f7513bd80d01be"),
        ({"frame": 2}, "7bedf7952c3bd3791a78721f65e8ff1458ba53893b5d16f48076d9088f279cef"),
    ],
)
def test_a_rule_that_an_earlier_release_had_keeps_its_digest(rule, digest):
    assert create_rules(rule).rules[0].digest == digest


def test_each_frame_is_a_task_and_an_object_that_is_sent_twice_is_one(spool, accept):
    assert accept() == (3, [3])
    assert accept() == (0, [0])
    assert accept(frames=5) == (0, [0])  # under the same UID: the first stays
    assert spool.count_states() == {"waiting": 3}
    assert len(list((spool.folder / "objects").iterdir())) == 1
    frames, keys = [], set()
    while (task := spool.find_due("waiting")) is not None:
        frames.append(task.frame)
        keys.add(task.key)
        spool.submitted(task, str(task.frame))
    assert (frames, len(keys)) == ([0, 1, 2], 3)


def test_an_object_stays_until_its_last_frame_is_delivered(spool, accept):
    accept(frames=2)
    for left in (1, 0):
        assert len(list((spool.folder / "objects").iterdir())) == 1
        spool.delivered(spool.find_due("waiting"), [])
        assert spool.count_states().get("waiting", 0) == left
    assert list((spool.folder / "objects").iterdir()) == []


def test_a_choice_among_objects_takes_or_leaves_all_frames_of_each(spool, accept):
    rules = create_rules({"frame": "all", "middle": True})
    for name, number in (("a", 2), ("b", 1), ("c", 3)):
        accept(name, rules=rules, InstanceNumber=number)
    spool.choose_complete_series(0)
    assert spool.count_states() == {"waiting": 3, "left": 6}
    assert spool.find_due("waiting").object == read_only_object(spool)
    accept("d", rules=rules, InstanceNumber=4)
    assert spool.count_states() == {"waiting": 3, "left": 9}


def read_only_object(spool):
    (path,) = (spool.folder / "objects").iterdir()
    assert read_instance(path).number == 2
    return path.stem


def test_frames_of_all_objects_of_a_series_share_alpha_and_have_one_report(spool, accept):
    accept("a", frames=5, rules=JOINT, InstanceNumber=1)
    accept("b", frames=1, rules=JOINT, InstanceNumber=2)
    spool.choose_complete_series(0)
    (rule,) = JOINT.rules
    task = spool.find_due("waiting")
    assert (task.alpha_parts, rule.divide_alpha(task.alpha_parts)) == (3, "0.000333333")
    certify_all(spool)
    report = join(spool, JOINT)
    assert read_figure(report, "images") == 3
    assert read_figure(report, "images-certified") == 3
    assert Decimal(str(read_figure(report, "alpha"))) == Decimal("0.0003")
    named = {
        one.ReferencedSOPInstanceUID: one.get("ReferencedFrameNumber")
        for group in items(report, "121112")
        for one in group.ReferencedSOPSequence
    }
    assert named == {"1.2.1097": [1, 3], "1.2.1098": None}
    (about,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = about.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 2
    assert spool.count_states() == {"done": 4}
    assert list((spool.folder / "objects").iterdir()) == []


def test_a_frame_that_was_given_up_counts_against_every_class(spool, accept):
    accept(frames=3, rules=create_joint({}))
    spool.choose_complete_series(0)
    spool.give_up(spool.find_due("waiting"), "it is broken")
    certify_all(spool)
    report = join(spool, create_joint({}))
    assert [read_figure(report, f"images{name}") for name in ("", "-certified", "-other")] == [
        3,
        2,
        1,
    ]
    (of,) = {tuple(one.ReferencedSOPSequence[0].ReferencedFrameNumber) for one in
             items(report, "121112")}  # fmt: skip
    assert of == (1, 2, 3)


def create_joint(frame):
    return create_rules({"frame": frame, "joint": True, "request": {"sigma": ["0.5"]}})


def test_each_delivered_frame_is_tried_again(spool, accept, write):
    accept(frames=3)
    for _ in range(2):
        spool.delivered(spool.find_due("waiting"), [])
    sent = write("again", SOPInstanceUID="1.2.1097", NumberOfFrames=3)
    assert spool.renew(sent, read_instance(sent), ALL.rules, "again") == 2
    tasks = []
    while (task := spool.find_due("waiting")) is not None:
        tasks.append((task.frame, task.further))
        spool.submitted(task, "1")
    assert sorted(tasks) == [(0, 1), (1, 1), (2, 0)]


def test_a_rule_that_takes_too_many_frames_makes_one_dead_letter_that_says_so(spool, accept):
    assert accept(frames=5000)[0] == 1
    objects = Objects(ALL, DicomSettings(), spool)
    with Client("http://127.0.0.1:9", patience_s=0) as client:
        assert Certifying(client, objects, DicomSettings(), spool).step()
    ((_, _, state, _, reason),) = spool.list_troubled()
    assert state == "dead"
    assert reason == "the rule takes more than 1000 of its frames: say at_most in frame"


def test_a_spool_of_an_earlier_release_opens_and_its_tasks_go_on(spool, accept):
    rules = create_rules({"frame": "middle"})
    assert accept("a", frames=9, rules=rules)[0] == 1
    spool.submitted(spool.find_due("waiting"), "1" * 32)
    assert accept("b", frames=9, rules=rules)[0] == 1
    spool.close()
    with closing(sqlite3.connect(spool.folder / "tasks.sqlite")) as database, database:
        database.execute("ALTER TABLE task DROP COLUMN frame")
    opened = Spool(spool.folder, most_bytes=spool.most_bytes)
    again = opened.open_again()
    assert again.find_due("certifying").frame == 4
    assert again.find_due("waiting").frame == 4
    assert again.count_states() == {"certifying": 1, "waiting": 1}
    again.close()
    opened.close()


def test_a_picture_of_the_answer_names_the_frame_that_it_is_about(write):
    source, (rule,) = load_source(write(NumberOfFrames=9)), ALL.rules
    result = create_result()
    for frame, frames in ((0, 1), (3, 9), (4, 9)):
        about = result.input.model_copy(update={"frame": frame, "frames": frames})
        result = result.model_copy(update={"input": about})
        capture = create_capture(source, result, rule, made=MADE)
        (named,) = capture.SourceImageSequence
        assert named.get("ReferencedFrameNumber") == (frame + 1 if frames > 1 else None)


@pytest.mark.parametrize(
    ("frame", "frames", "said"),
    [
        ('"all"', 4, "of its 4 frames, counted from 0: 0, 1, 2, 3"),
        ("{ every = 2, at_most = 3 }", 9, "of its 9 frames, counted from 0: 0, 2, 6"),
        ('"all"', 90, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..., 89 (90 in all)"),
        ('"middle"', 9, "of its 9 frames, counted from 0: 4"),
        ("12", 9, "it would become a dead letter: it has no frame 12, counted from 0"),
    ],
)
def test_the_command_says_which_frames(tmp_path, write, frame, frames, said):
    path = tmp_path / "rules.toml"
    path.write_text(FILE.replace("FRAME", frame))
    for count, expected in ((frames, True), (1, False)):
        sent = write(f"f{count}", NumberOfFrames=count)
        command = ["dicom", "rules", "--check", str(path), "--with", str(sent)]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        assert (said in done.output) == expected
        assert ("frame" in done.output) == expected
