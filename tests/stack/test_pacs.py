"""A node between the service and a real PACS: `make test-pacs`.

Orthanc with its DICOMweb plugin, dcmtk and dicom3tools, as Debian packages them.
"""

import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from subprocess import DEVNULL

import pytest
from ports import find_free_ports
from waiting import HANG_S, running, wait_until

pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

from dicom_node import RULE, NodeProcess, write_series
from orthanc import (
    Orthanc,
    check_objects,
    create_storescu,
    name_pacs,
    needs_orthanc,
    storescu,
)
from pydicom import dcmread

pytestmark = [pytest.mark.pacs, needs_orthanc]


INSTANCES, MOST_SENDS = 100, 200  # one to nine at a time, some of them again
AWAY_S = 60


@pytest.fixture
def pacs(stack, tmp_path):
    """A node and a PACS that know one another, both running."""
    http_port, dicom_port, node_port = find_free_ports(3)
    orthanc = Orthanc(tmp_path / "orthanc", (http_port, dicom_port), node_port)
    rules = name_pacs(http_port, dicom_port) + RULE.format(send_to=["web", "store"])
    node = NodeProcess(tmp_path / "node", str(stack.http.base_url), node_port, rules)
    orthanc.start()
    node.start()
    yield orthanc, node
    node.stop()
    orthanc.stop()


def test_a_series_of_100_slices_comes_back_as_results_in_its_study_and_once(pacs, tmp_path):
    orthanc, node = pacs
    paths = write_series(tmp_path / "series", 100)
    assert storescu(orthanc.dicom_port, *paths, called="ORTHANC") == 0
    ids = orthanc.http.get("/instances").json()
    assert len(ids) == 100
    for _ in range(2):  # the PACS routes the series twice
        orthanc.http.post("/modalities/node/store", json=ids).raise_for_status()
    node.wait_for("done", 100)
    assert node.status()["spooled_bytes"] == 0
    assert (len(orthanc.find("SR")), len(orthanc.find("DOC"))) == (100, 100)
    study = dcmread(paths[0]).StudyInstanceUID
    series = orthanc.http.get(f"/dicom-web/studies/{study}/series").json()
    modalities = sorted(one["00080060"]["Value"][0] for one in series)
    assert modalities == ["CT", "DOC", "SR"]
    query = ["findscu", "-S", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom_port)]
    keys = ["-k", "0008,0052=SERIES", "-k", f"0020,000d={study}", "-k", "0008,103e"]
    found = subprocess.run([*query, *keys], capture_output=True, text=True, timeout=HANG_S)
    assert (found.stdout + found.stderr).count("Robustness certificate, research only") == 2
    check_objects(orthanc.files("SR", tmp_path / "sr") + orthanc.files("DOC", tmp_path / "pdf"))


@dataclass
class Parts:
    """All that takes part in the way of an image, each killed with SIGKILL."""

    orthanc: Orthanc
    node: NodeProcess
    stack: object

    def kill(self, part: str) -> None:
        """Kills it and has it started again: by the test, or by who watches it."""
        match part:
            case "node":
                self.node.kill()
                self.node.start()
            case "pacs":
                self.orthanc.kill()
                self.orthanc.start()
            case _:
                self.find(KILLED_BY_WORDS[part]).kill()

    def find(self, words: str):
        return wait_until(lambda: self.stack.processes(words))[0]


KILLED_BY_WORDS = {
    "app": "-m app",
    "worker": "worker.rq_worker",
    "engine": "worker.engine",
    "redis": "redis.sock",
}


@pytest.fixture
def parts(start, stop, models_folder, tmp_path):
    """A node, a PACS and a service of their own."""
    port, http_port, dicom_port, node_port = find_free_ports(4)
    stack = start(tmp_path / "service", port, models=models_folder)
    orthanc = Orthanc(tmp_path / "orthanc", (http_port, dicom_port), node_port)
    rules = name_pacs(http_port, dicom_port) + RULE.format(send_to=["web"])
    node = NodeProcess(tmp_path / "node", str(stack.http.base_url), node_port, rules)
    orthanc.start()
    node.start()
    yield Parts(orthanc, node, stack)
    node.stop()
    orthanc.stop()
    stop(stack)


def test_whatever_is_killed_at_any_moment_nothing_is_lost_and_nothing_is_double(parts, tmp_path):
    orthanc, node = parts.orthanc, parts.node
    paths, chance = write_series(tmp_path / "series", INSTANCES, seed=2), random.Random(7)
    waiting, killed = list(paths), Counter()
    names = cycle(("node", "pacs", *KILLED_BY_WORDS))
    for _ in range(MOST_SENDS):
        some = waiting[: chance.randint(1, 9)] or paths[:1]
        with running(create_storescu(node.port, *some), stdout=DEVNULL, stderr=DEVNULL) as sending:
            time.sleep(chance.random())
            part = next(names)
            parts.kill(part)
            killed[part] += 1
            code = sending.wait(timeout=HANG_S)
        if code == 0:  # else the sender had no answer for some of them, and sends all again
            waiting = waiting[len(some) :]
        if not waiting and killed.keys() >= {"node", "pacs", *KILLED_BY_WORDS}:
            break
    assert waiting == [], killed
    node.wait_for("done", INSTANCES)
    found = node.status()
    assert sum(found[name] for name in ("done", "dead", "left")) == found["done"] == INSTANCES
    for modality in ("SR", "DOC"):
        assert len(orthanc.find(modality)) == INSTANCES
    assert found["spooled_bytes"] == 0


def test_results_wait_for_a_pacs_that_is_away_for_a_minute(pacs, tmp_path):
    orthanc, node = pacs
    orthanc.kill()
    away_since = time.monotonic()
    (path,) = write_series(tmp_path / "series", 1, seed=3)
    assert storescu(node.port, path) == 0
    node.wait_for("owed", 1)
    wait_until(lambda: node.status()["troubled"], pause_s=0.2)
    (trouble,) = node.status()["troubled"]
    assert trouble["tries"] > 0
    assert "no answer by DICOMweb" in trouble["reason"]
    time.sleep(max(0.0, AWAY_S - (time.monotonic() - away_since)))
    assert node.status()["owed"] == 1
    orthanc.start()
    node.wait_for("done", 1)
    assert len(orthanc.find("SR")) == 1


@pytest.mark.parametrize("source", ["web", "move"])
def test_a_study_is_fetched_and_its_results_are_in_it(pacs, tmp_path, source):
    orthanc, node = pacs
    paths = write_series(tmp_path / "series", 3, seed=5)
    assert storescu(orthanc.dicom_port, *paths, called="ORTHANC") == 0
    first = dcmread(paths[0])
    study = ("--study", first.StudyInstanceUID, "--from", source)
    series = ("--series", first.SeriesInstanceUID)
    one = node.run("fetch", *study, *series, "--instance", first.SOPInstanceUID)
    assert (one.returncode, one.stdout[:14]) == (0, "1 objects came"), one.stderr
    node.wait_for("done", 1)
    done = node.run("fetch", *study, *series)
    assert (done.returncode, done.stdout[:14]) == (0, "3 objects came"), done.stderr
    node.wait_for("done", 3)
    assert (len(orthanc.find("SR")), len(orthanc.find("DOC"))) == (3, 3)
    assert node.run("fetch", *study).returncode == 0  # with the reports, which no rule takes
    assert node.status()["done"] == 3
    assert "no such source" in node.run("fetch", *study[:3], "nowhere").stderr


def test_strangers_and_what_is_broken_or_too_long_are_refused_and_the_node_goes_on(pacs, tmp_path):
    _, node = pacs
    good, broken, long = write_series(tmp_path / "series", 3, seed=4)
    dataset = dcmread(long)
    dataset.Rows = dataset.Columns = 5600
    dataset.PixelData = bytes(2 * 5600 * 5600)  # 62.7 MB
    dataset.save_as(long)
    broken.write_bytes(broken.read_bytes()[:500])
    assert storescu(node.port, good, calling="STRANGER") != 0
    assert storescu(node.port, broken) != 0
    assert storescu(node.port, long) != 0
    assert storescu(node.port, good) == 0
    node.wait_for("done", 1)
    shown = node.status()
    assert sum(shown[state] for state in ("waiting", "certifying", "owed", "dead")) == 0
