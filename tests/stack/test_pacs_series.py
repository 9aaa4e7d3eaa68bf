"""Whole series, other attempts and sources, with a real PACS: `make test-pacs`."""

import subprocess
from pathlib import Path

import pytest
from command import PROMPTSMOOTH
from ports import find_free_ports
from waiting import HANG_S

pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

from dicom_node import NodeProcess, write_cine, write_series
from orthanc import Orthanc, check_objects, name_pacs, needs_orthanc, storescu
from pydicom import dcmread

pytestmark = [pytest.mark.pacs, needs_orthanc]
EXAMPLE = Path(__file__).parents[2] / "docker" / "pacs"
RULES = """
[[rules]]
name = "series"
match = { calling_ae = ["SENDER"] }
request = { sigma = ["0.1"], n_max = 100, n_cap = 200 }
frame = "all"
joint = true
source = "web"
capture = true
send_to = ["web"]

[[rules]]
name = "research"
match = { calling_ae = ["RESEARCH"] }
request = { sigma = ["0.1"], n_max = 64 }
joint = true
pseudonymise = true
send_to = ["store"]
"""


@pytest.fixture
def pacs(stack, tmp_path):
    http_port, dicom_port, node_port = find_free_ports(3)
    orthanc = Orthanc(tmp_path / "orthanc", (http_port, dicom_port), node_port)
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    node = NodeProcess(
        tmp_path / "node",
        str(stack.http.base_url),
        node_port,
        name_pacs(http_port, dicom_port) + RULES,
        settle_s="1",
        calling_ae='["SENDER", "RESEARCH"]',
        pseudonym_salt_file=str(tmp_path / "salt"),
    )
    orthanc.start()
    node.start()
    yield orthanc, node
    node.stop()
    orthanc.stop()


def read_predecessor(report):
    """The instance that a report follows."""
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (one,) = series.ReferencedSOPSequence
    return one.ReferencedSOPInstanceUID


def split(paths):
    """Reports of series, and of images."""
    reports = [dcmread(path) for path in paths]
    return [r for r in reports if r.SeriesNumber == 9902], [
        r for r in reports if r.SeriesNumber == 9900
    ]


def test_a_series_has_one_report_more_and_a_further_one_when_images_come_late(pacs, tmp_path):
    orthanc, node = pacs
    *early, late = paths = write_series(tmp_path / "series", 5, seed=21)
    assert storescu(orthanc.dicom_port, *paths, called="ORTHANC") == 0
    assert storescu(node.port, *early) == 0
    node.wait_for("done", 5)
    assert len(orthanc.find("OT")) == 4
    assert node.status()["spooled_bytes"] == 0
    assert storescu(node.port, late) == 0
    node.wait_for("done", 7)
    files = orthanc.files("SR", tmp_path / "sr")
    joint, single = split(files)
    assert (len(joint), len(single), len(orthanc.find("DOC"))) == (2, 5, 5)
    first, second = sorted(joint, key=lambda report: "PredecessorDocumentsSequence" in report)
    assert read_predecessor(second) == first.SOPInstanceUID
    about = second.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = {one.ReferencedSOPInstanceUID for one in about.ReferencedSOPSequence}
    assert named == {dcmread(path).SOPInstanceUID for path in paths}
    pictures = orthanc.files("OT", tmp_path / "ot")
    check_objects([*files, *pictures, *orthanc.files("DOC", tmp_path / "pdf")])


def test_patients_are_read_again_where_the_results_go_and_attempts_follow_one_another(
    pacs, tmp_path
):
    orthanc, node = pacs
    (path,) = write_series(tmp_path / "series", 1, seed=22)
    assert storescu(node.port, path) == 0  # while the PACS has no such image
    corrected = dcmread(path)
    corrected.PatientName = "Corrected^Name"
    corrected.save_as(tmp_path / "corrected.dcm")
    assert storescu(orthanc.dicom_port, tmp_path / "corrected.dcm", called="ORTHANC") == 0
    node.wait_for("done", 2)
    study = ("--study", corrected.StudyInstanceUID, "--from", "web")
    for how, done in (("--continue", 3), ("--again", 4)):
        fetched = node.run("fetch", *study, how)
        assert fetched.returncode == 0, fetched.stderr
        node.wait_for("done", done)
    files = orthanc.files("SR", tmp_path / "sr")
    joint, single = split(files)
    assert (len(joint), len(single)) == (3, 3)
    for reports in (joint, single):
        assert {str(report.PatientName) for report in reports} == {"Corrected^Name"}
        followed = {read_predecessor(r) for r in reports if "PredecessorDocumentsSequence" in r}
        assert len(followed) == 2
        assert followed < {report.SOPInstanceUID for report in reports}
    check_objects(files)


def test_frames_of_a_cine_are_reported_each_and_together_and_tried_again_each(pacs, tmp_path):
    orthanc, node = pacs
    path = write_cine(tmp_path / "cine", 3, seed=26)
    assert storescu(orthanc.dicom_port, path, called="ORTHANC") == 0
    assert storescu(node.port, path) == 0
    node.wait_for("done", 4)
    assert storescu(node.port, path) == 0
    assert [len(orthanc.find(kind)) for kind in ("SR", "DOC", "OT")] == [4, 3, 3]
    study = dcmread(path).StudyInstanceUID
    fetched = node.run("fetch", "--study", study, "--from", "web", "--again")
    assert "3 new tasks" in fetched.stdout, fetched.stderr
    node.wait_for("done", 5)
    files = orthanc.files("SR", tmp_path / "sr")
    joint, single = split(files)
    assert (len(joint), len(single)) == (2, 6)
    for reports in (joint, single):
        followed = {read_predecessor(r) for r in reports if "PredecessorDocumentsSequence" in r}
        assert followed < {report.SOPInstanceUID for report in reports}
        assert len(followed) == len(reports) / 2
    pictures = orthanc.files("OT", tmp_path / "ot")
    assert {dcmread(p).SourceImageSequence[0].ReferencedFrameNumber for p in pictures} == {1, 2, 3}
    check_objects([*files, *pictures, *orthanc.files("DOC", tmp_path / "pdf")])


def test_pseudonyms_are_all_that_results_for_research_say(pacs, tmp_path):
    orthanc, node = pacs
    paths = write_series(tmp_path / "series", 2, seed=23)
    image = dcmread(paths[0])
    assert storescu(node.port, *paths, calling="RESEARCH") == 0
    node.wait_for("done", 3)
    files = [*orthanc.files("SR", tmp_path / "sr"), *orthanc.files("DOC", tmp_path / "pdf")]
    assert len(files) == 5
    said = [image[name].value for name in ("PatientID", "PatientName", "StudyInstanceUID")]
    for path in files:
        assert not [one for one in said if str(one).encode() in path.read_bytes()]
    assert len({dcmread(path).PatientID for path in files}) == 1
    check_objects(files)


def test_a_study_is_certified_from_the_command_line(pacs, tmp_path, stack):
    orthanc, node = pacs
    paths = write_series(tmp_path / "series", 2, seed=24)
    assert storescu(orthanc.dicom_port, *paths, called="ORTHANC") == 0
    study = dcmread(paths[0]).StudyInstanceUID
    output = tmp_path / "certificates"
    service = ("--server", str(stack.http.base_url), "--output", str(output))
    asked = ("--sigma", "0.1", "--n-max", "64")
    command = [PROMPTSMOOTH, "certify", "--study", study, "--from", "web", *service, *asked]
    done = subprocess.run(
        command, env=node.environment, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    assert len(list(output.glob("*.dcm.json"))) == 2
    nowhere = [*command[:5], "nowhere", *command[6:]]
    done = subprocess.run(
        nowhere, env=node.environment, capture_output=True, text=True, timeout=HANG_S
    )
    assert (done.returncode, "names no source nowhere" in done.stderr) == (2, True)


def test_the_example_routes_a_stable_series_and_its_rules_certify_it(stack, tmp_path):
    http_port, dicom_port, node_port = find_free_ports(3)
    script = {"LuaScripts": [str(EXAMPLE / "route.lua")], "StableAge": 2}
    orthanc = Orthanc(tmp_path / "orthanc", (http_port, dicom_port), node_port, **script)
    rules = (EXAMPLE / "rules.toml").read_text().replace("orthanc:8042", f"127.0.0.1:{http_port}")
    url = str(stack.http.base_url)
    node = NodeProcess(tmp_path / "node", url, node_port, rules, settle_s="1")
    orthanc.start()
    node.start()
    paths = write_series(tmp_path / "series", 2, seed=25)
    assert storescu(orthanc.dicom_port, *paths, called="ORTHANC") == 0
    node.wait_for("done", 3)
    assert len(orthanc.find("SR")) == 3
    node.stop()
    orthanc.stop()
