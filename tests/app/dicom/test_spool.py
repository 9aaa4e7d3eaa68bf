"""What a spool has accepted it gives back, whatever is killed, and nothing else stays."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from waiting import HANG_S

from app.dicom.audit import Audit
from app.dicom.delivering import Delivering
from app.dicom.instance import read_instance
from app.dicom.retries import retry_later
from app.dicom.settings import DicomSettings
from app.dicom.spool import Document, SpoolDraining, SpoolFull
from models.files.audit_log import list_files

from .conftest import create_rules
from .test_destinations import serve

REPOSITORY = Path(__file__).parents[3]
RESULTS = {Document("1", "2", "3"): b"report", Document("1", "2", "4"): b"pdf"}


@pytest.fixture
def accept(spool, write):
    """Sends an object to the spool, as the node does; how many tasks it made."""

    def send(name="a", rules=None, record=lambda _new: None, **elements):
        sent = write(name, SOPInstanceUID=f"1.2.{1000 + ord(name)}", **elements)
        received = spool.folder / "incoming" / f"{name}.dcm"
        shutil.copy(sent, received)
        rules = (rules or create_rules()).rules
        return spool.accept(received, read_instance(sent), rules, record=record)

    return send


@pytest.fixture
def in_memory():
    """A folder where fsync costs nothing: a kill takes no file away, on disk or not."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.long)])
def test_a_kill_at_any_line_loses_nothing_doubles_nothing_and_leaves_nothing(
    write, in_memory, stride, frames
):
    program = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, program, write(NumberOfFrames=frames), in_memory / "killed", str(stride)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert found["kills"] > 700 / stride


def test_an_object_is_taken_once_for_each_rule(spool, accept):
    assert accept() == 1
    assert accept() == 0
    other = create_rules({}, {"name": "again", "request": {"sigma": ["0.5"]}})
    assert accept(rules=other) == 1
    assert spool.count_states() == {"waiting": 2}
    assert len(list((spool.folder / "objects").iterdir())) == 1


def test_a_spool_that_is_full_takes_no_more_and_loses_none(spool, accept):
    size, names = read_instance_size(spool, accept), iter("bcdefghij")
    room = spool.most_bytes // size
    for _ in range(room - 1):
        assert accept(next(names)) == 1
    with pytest.raises(SpoolFull):
        accept("z")
    assert spool.count_states() == {"waiting": room}
    assert spool.count_bytes() == room * size
    spool.delivered(spool.find_due("waiting"), [])
    assert accept("z") == 1


def read_instance_size(spool, accept):
    """Bytes of an object, after the first was sent."""
    assert accept("a") == 1
    return spool.count_bytes()


def test_nobody_else_can_read_what_is_kept(spool, accept):
    accept()
    spool.put_results(spool.find_due("waiting"), RESULTS)
    for path in [spool.folder, *spool.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    kept = [path.read_bytes() for path in spool.folder.glob("tasks.sqlite*")]
    assert not any(b"1.3.6.1.4.1.5962" in one or b"CT1" in one for one in kept)


def test_a_look_from_another_process_takes_no_row_away(spool, accept):
    accept("a")
    again = spool.open_again()
    program = (
        "import sys; from pathlib import Path; from app.dicom.spool import Spool;"
        "s = Spool(Path(sys.argv[1]), most_bytes=1); print(s.count_states()); s.close()"
    )
    command = [sys.executable, "-c", program, spool.folder]
    for name, expected in (("b", "{'waiting': 1}"), ("c", "{'waiting': 2}")):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
        accept(name)
    assert again.count_states() == {"waiting": 3}
    assert (spool.folder / "tasks.sqlite-wal").exists()
    again.close()


def test_a_choice_waits_for_its_series_and_stragglers_come_too_late(spool, accept):
    moment = [1000.0]
    spool.clock = lambda: moment[0]
    rules = create_rules({"middle": True})
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        assert accept(name, rules, InstanceNumber=number) == 1
    spool.choose_complete_series(30)
    assert spool.count_states() == {"gathering": 3}
    moment[0] += 31
    spool.choose_complete_series(30)
    assert spool.count_states() == {"left": 2, "waiting": 1}
    accept("d", rules, InstanceNumber=4)
    assert spool.count_states() == {"left": 3, "waiting": 1}
    (kept,) = (spool.folder / "objects").iterdir()
    assert read_instance(kept).number == 2


def test_what_fails_waits_longer_each_time_and_a_dead_letter_goes_on_where_it_died(spool, accept):
    moment = [0.0]
    spool.clock = lambda: moment[0]
    accept()
    spool.submitted(spool.find_due("waiting"), "1" * 32)
    spool.put_off(spool.find_due("certifying"), 10, "away")
    assert spool.find_due("certifying") is None
    moment[0] = 10
    task = spool.find_due("certifying")
    assert (task.tries, task.certification) == (1, "1" * 32)
    spool.give_up(task, "away for too long")
    ((_, rule, state, _, reason),) = spool.list_troubled()
    assert (rule, state, reason) == ("ct", "dead", "away for too long")
    spool.sweep()
    assert spool.object_path(task.object).exists()
    assert spool.retry_dead() == 1
    assert spool.find_due("certifying").tries == 0


def test_a_study_is_erased_with_all_that_is_owed(spool, accept):
    accept("a", StudyInstanceUID="1.2.3")
    accept("b", StudyInstanceUID="1.2.4")
    for _ in range(2):
        spool.put_results(spool.find_due("waiting"), RESULTS)
    assert spool.erase_study("1.2.3") == 1
    assert spool.count_states() == {"owed": 1}
    assert len(list((spool.folder / "objects").iterdir())) == 1
    assert len(list((spool.folder / "results").iterdir())) == 2


def test_what_ended_is_not_taken_again(spool, accept):
    accept()
    spool.delivered(spool.find_due("waiting"), [])
    assert accept() == 0
    assert spool.count_states() == {"done": 1}
    assert spool.count_bytes() == 0


def test_what_fails_for_the_first_time_is_tried_again_however_long_it_waited_before(spool, accept):
    moment = [0.0]
    spool.clock = lambda: moment[0]
    settings = DicomSettings(first_retry_s=10, give_up_s=200)
    accept()
    for at in (1000.0, 1100.0, 1150.0):
        moment[0] = at
        retry_later(settings, spool, spool.find_due("waiting"), "away")
    spool.put_off(take(spool, moment, "waiting"), 0)
    assert spool.find_due("waiting").tries == 0
    for pause in (0, 190, 20):
        moment[0] += pause
        assert spool.count_states() == {"waiting": 1}
        retry_later(settings, spool, take(spool, moment, "waiting"), "away")
    assert spool.count_states() == {"dead": 1}


def take(spool, moment, state):
    """The only task, at the moment at which it is due."""
    while (task := spool.find_due(state)) is None:
        moment[0] += 1
    return task


def test_an_object_whose_task_cannot_be_written_is_not_kept_and_is_taken_when_it_can(spool, accept):
    database = sqlite3.connect(spool.folder / "tasks.sqlite")
    database.execute(
        "CREATE TRIGGER fault BEFORE INSERT ON task BEGIN SELECT RAISE(ABORT, 'fault'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        accept()
    assert list((spool.folder / "objects").iterdir()) == []
    database.execute("DROP TRIGGER fault")
    database.close()
    assert accept() == 1


def test_results_of_a_study_that_was_erased_meanwhile_are_not_kept(spool, accept):
    accept("a", StudyInstanceUID="1.2.3")
    task = spool.find_due("waiting")
    assert spool.erase_study("1.2.3") == 1
    spool.put_results(task, RESULTS)
    assert list((spool.folder / "results").iterdir()) == []


def test_a_dead_letter_goes_on_with_another_submission_where_the_first_cannot_help(spool, accept):
    accept()
    spool.submitted(spool.find_due("waiting"), "1" * 32)
    spool.give_up(spool.find_due("certifying"), "it failed", anew=True)
    assert spool.retry_dead() == 1
    task = spool.find_due("waiting")
    assert (task.certification, task.submission) == (None, 1)


@pytest.fixture
def change_rules(spool):
    """Changes a text in the rules that are stored."""

    def change(old, new):
        with closing(sqlite3.connect(spool.folder / "tasks.sqlite")) as database, database:
            database.execute("UPDATE rule SET content = replace(content, ?, ?)", (old, new))

    return change


def test_a_stored_rule_that_is_no_longer_accepted_keeps_no_other_from_its_turn(
    spool, accept, change_rules
):
    accept("a")
    accept("b", create_rules({"middle": True}))
    change_rules("0.25", "0")
    accept("c", create_rules({"name": "other"}))
    spool.choose_complete_series(0)
    assert spool.find_due("waiting").rule.name == "other"
    assert spool.count_states() == {"dead": 2, "waiting": 1}
    reasons = {(name, reason) for _, name, _, _, reason in spool.list_troubled()}
    assert reasons == {("ct", "its rule is no longer accepted")}
    change_rules('"0"', '"0.25"')
    assert spool.retry_dead() == 2
    spool.choose_complete_series(0)
    assert spool.count_states() == {"waiting": 3}


def test_results_that_went_missing_are_made_again_from_the_same_certification(spool, accept):
    accept()
    spool.submitted(spool.find_due("waiting"), "1" * 32)
    task = spool.find_due("certifying")
    spool.put_results(task, RESULTS)
    spool.result_paths(spool.find_due("owed"))[1].unlink()
    assert Delivering(create_rules(), DicomSettings(), spool, Audit(DicomSettings())).step()
    again = spool.find_due("certifying")
    assert (again.certification, again.submission) == ("1" * 32, 0)


def test_nothing_comes_in_once_a_drain_has_returned(spool, accept):
    other, seen = spool.open_again(), []

    def drain():
        other.drain(on=True)
        seen.append(other.count_states())

    draining = threading.Thread(target=drain)

    def record(_new):
        draining.start()
        draining.join(timeout=0.5)  # ends now only if it does not wait for this object

    accept("a", record=record)
    draining.join()
    assert seen == [{"waiting": 1}]
    with pytest.raises(SpoolDraining):
        accept("b")
    assert accept("a") == 0
    assert len(list((spool.folder / "objects").iterdir())) == 1
    other.close()


def test_results_whose_delivery_has_no_entry_stay_owed_and_keep_no_other_from_its_turn(
    spool, accept, tmp_path
):
    moment = [1000.0]
    spool.clock = lambda: moment[0]
    settings = DicomSettings(audit_log=tmp_path / "audit", first_retry_s=10)
    with serve(200, b"{}") as (url, came):
        rules = create_rules(destinations={"pacs": {"kind": "stow", "url": url}})
        for name in "ab":
            accept(name)
            spool.put_results(spool.find_due("waiting"), RESULTS)
            moment[0] += 1
        (tmp_path / "audit").write_bytes(b"")  # no folder: no entry can be written
        delivering = Delivering(rules, settings, spool, Audit(settings))
        assert [delivering.step() for _ in range(3)] == [True, True, False]
        assert len(came) == 2
        assert [row[3] for row in spool.list_troubled()] == [1, 1]
        assert {row[4] for row in spool.list_troubled()} == {
            "pacs: its delivery cannot be written in the audit log"
        }
        (tmp_path / "audit").unlink()
        moment[0] += 10
        assert [delivering.step() for _ in range(3)] == [True, True, False]
    assert spool.count_states() == {"done": 2}
    (path,) = list_files(tmp_path / "audit")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["action"], one["destinations"]) for one in entries] == [
        ("dicom.delivered", ["pacs"])
    ] * 2


def test_what_the_spool_holds_is_counted_without_a_look_at_what_is_done(spool, accept):
    accept()
    with closing(sqlite3.connect(spool.folder / "tasks.sqlite")) as database:
        asked = []
        spool._db.set_trace_callback(asked.append)
        spool.count_bytes()
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert any("USING COVERING INDEX task_kept" in step for step in plan), plan
