"""The node takes what its settings allow, and answers with success only when it is on disk."""

import json
import re
import shutil
import ssl
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from waiting import HANG_S, wait_until

from app.dicom.audit import Audit
from app.dicom.metrics import NodeMetrics, create_counter
from app.dicom.network.node import (
    CANNOT_UNDERSTAND,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    Node,
    list_sop_classes,
)
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, digest
from models.files.audit_log import list_files

from .certificates import write_pair
from .conftest import create_rules


@pytest.fixture
def listen(tmp_path):
    """Runs a node; its port and its spool."""

    @contextmanager
    def run(rules=None, *, most_bytes=10**7, **settings):
        settings = DicomSettings(
            port=0, calling_ae=("SENDER",), spool=tmp_path / "spool", idle_s=HANG_S, **settings
        )
        spool = Spool(settings.spool, most_bytes=most_bytes)
        node = Node(settings, rules or create_rules(), spool, Audit(settings), create_counter())
        with node.listening() as port:
            yield port, spool
        spool.close()

    return run


def associate(port, *, calling="SENDER", called="PROMPTSMOOTH", **more):
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = HANG_S
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    return ae.associate("127.0.0.1", port, ae_title=called, **more)


def store(port, *paths, **more):
    """The statuses of these files, sent over one association."""
    association = associate(port, **more)
    assert association.is_established
    found = [association.send_c_store(dcmread(path)).get("Status") for path in paths]
    association.release()
    return found


def test_an_echo_is_answered(listen):
    with listen() as (port, _):
        association = associate(port)
        assert association.send_c_echo().Status == 0
        association.release()


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        ({"calling": "STRANGER"}, {}),
        ({"called": "OTHER"}, {}),
        ({}, {"calling_networks": ("192.0.2.0/24",)}),
    ],
)
def test_whoever_is_not_on_the_list_is_rejected(listen, names, settings):
    with listen(**settings) as (port, _):
        assert associate(port, **names).is_rejected


def test_success_means_that_the_object_is_on_disk(listen, write):
    sent = write()
    with listen() as (port, spool):
        assert store(port, sent, sent) == [0, 0]
        assert spool.count_states() == {"waiting": 1}
        kept = dcmread(spool.object_path(spool.find_due("waiting").object))
        assert kept.PixelData == dcmread(sent).PixelData
        assert list((spool.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize(("unmatched", "status"), [("drop", 0), ("refuse", NOT_AUTHORISED)])
def test_what_no_rule_takes_is_answered_as_the_file_says_and_not_kept(
    listen, write, unmatched, status
):
    rules = create_rules({"match": {"modality": ["MR"]}}, unmatched=unmatched)
    with listen(rules) as (port, spool):
        assert store(port, write()) == [status]
        assert spool.count_states() == {}
        assert list(spool.folder.rglob("*.dcm")) == []


def test_a_full_spool_is_out_of_resources_and_takes_again_when_there_is_room(listen, write):
    first, second = write("a", SOPInstanceUID="1.2.1"), write("b", SOPInstanceUID="1.2.2")
    with listen(most_bytes=50_000) as (port, spool):
        assert store(port, first, second, first) == [0, OUT_OF_RESOURCES, 0]
        spool.delivered(spool.find_due("waiting"), [])
        assert store(port, second) == [0]


def test_an_object_that_cannot_be_told_from_others_is_not_understood(listen, write):
    with listen() as (port, spool):
        assert store(port, write(StudyInstanceUID="")) == [CANNOT_UNDERSTAND]
        assert spool.count_states() == {}


def test_an_object_that_is_too_long_ends_its_association_and_leaves_nothing(listen, write):
    dataset = dcmread(write())
    dataset.Rows, dataset.Columns = 1200, 1200
    dataset.PixelData = bytes(2 * 1200 * 1200)
    with listen(max_object_bytes=100_000) as (port, spool):
        association = associate(port)
        association.send_c_store(dataset)
        wait_until(lambda: not association.is_established)
        assert association.is_aborted
        wait_until(lambda: not list((spool.folder / "incoming").iterdir()))
        assert spool.count_states() == {}
        assert store(port, write("small")) == [0]


def test_objects_are_counted_one_by_one_and_not_together(listen, write):
    paths = [write("abcdef"[i], SOPInstanceUID=f"1.2.{i}") for i in range(6)]
    with listen(max_object_bytes=1024) as (port, _):  # beside 1 MiB for headers
        assert store(port, *paths * 10) == [0] * 60


def test_with_tls_a_caller_needs_a_certificate_that_the_node_trusts(listen, write, tmp_path):
    for name in ("node", "caller", "stranger"):
        write_pair(tmp_path / name)
    node, caller = tmp_path / "node", tmp_path / "caller"
    settings = {
        "tls_certificate": node / "server.crt",
        "tls_key": node / "server.key",
        "tls_client_ca": caller / "server.crt",
    }

    def context(name=None):
        found = ssl.create_default_context(cafile=node / "server.crt")
        if name is not None:
            found.load_cert_chain(tmp_path / name / "server.crt", tmp_path / name / "server.key")
        return found, "127.0.0.1"

    with listen(**settings) as (port, _):
        assert store(port, write(), tls_args=context("caller")) == [0]
        for wrong in (context(), context("stranger"), None):
            assert not associate(port, tls_args=wrong).is_established


def test_what_an_interrupted_start_left_is_swept(listen, write):
    with listen() as (port, spool):
        assert store(port, write()) == [0]
        (kept,) = (spool.folder / "objects").iterdir()
        shutil.copy(kept, spool.folder / "objects" / f"{'0' * 64}.dcm")
        (spool.folder / "incoming" / "half").write_bytes(b"x")
    with listen() as (_, spool):
        assert list((spool.folder / "objects").iterdir()) == [kept]
        assert list((spool.folder / "incoming").iterdir()) == []


def test_image_classes_are_offered_and_video_is_not():
    names = {uid.name for uid in list_sop_classes()}
    assert {
        "CT Image Storage",
        "MR Image Storage",
        "Digital X-Ray Image Storage - For Presentation",
    } <= names
    assert not [name for name in names if "Video" in name or "SR" in name or "PDF" in name]


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the long number
def test_an_element_that_nobody_foresaw_is_not_understood_and_the_node_goes_on(listen, write):
    sent = write(InstanceNumber="12345678")
    content = sent.read_bytes()
    place = content.index(b"\x20\x00\x13\x00IS") + 6
    large = (20).to_bytes(2, "little") + b"9" * 20  # no integer of a database
    sent.write_bytes(content[:place] + large + content[place + 10 :])
    with listen() as (port, spool):
        assert store(port, sent, write("other")) == [CANNOT_UNDERSTAND, 0]
        assert spool.count_states() == {"waiting": 1}
        assert list((spool.folder / "incoming").iterdir()) == []


def test_a_node_that_ends_ends_its_associations(listen):
    with listen() as (port, _):
        association = associate(port)
        assert association.is_established
    wait_until(lambda: not association.is_established)
    assert association.is_aborted


def test_a_node_that_drains_turns_callers_away_for_now(listen, write):
    with listen() as (port, spool):
        spool.drain(on=True)
        association = associate(port)
        assert not association.is_established
        assert association.acceptor.primitive.result == 0x02  # transient
        spool.drain(on=False)
        assert store(port, write()) == [0]


def test_a_node_that_drains_takes_nothing_over_an_association_that_was_open_before(listen, write):
    first, second = (dcmread(write(name, SOPInstanceUID=f"1.2.{name}")) for name in "12")
    with listen() as (port, spool):
        association = associate(port)
        assert association.send_c_store(first).Status == 0
        spool.delivered(spool.find_due("waiting"), [])
        spool.drain(on=True)
        assert association.send_c_store(second).Status == OUT_OF_RESOURCES
        assert spool.count_states() == {"done": 1}
        assert list((spool.folder / "objects").iterdir()) == []
        spool.drain(on=False)
        assert association.send_c_store(second).Status == 0
        association.release()


def test_who_sent_what_is_in_the_audit_log_before_success_is_answered(listen, write, tmp_path):
    folder = tmp_path / "audit"
    with listen(audit_log=folder) as (port, spool):
        assert store(port, write()) == [0]
        (path,) = list_files(folder)
        entry = json.loads(path.read_text())
        assert (entry["action"], entry["caller"], entry["new"]) == ("dicom.accepted", "SENDER", 1)
        assert entry["object"] == digest(dcmread(write()).SOPInstanceUID)
        path.unlink()
        path.mkdir()  # an entry cannot be written from now on
        assert store(port, write("b", SOPInstanceUID="1.2.3")) == [OUT_OF_RESOURCES]
        assert spool.count_states() == {"waiting": 1}
        assert len(list((spool.folder / "objects").iterdir())) == 1
        path.rmdir()
        assert store(port, write("b", SOPInstanceUID="1.2.3")) == [0]
        assert spool.count_states() == {"waiting": 2}


def test_metrics_are_those_of_the_spool_and_of_what_was_sent(listen, write, tmp_path):
    with listen() as (port, spool):
        stored = create_counter()
        stored.labels("0000").inc()
        assert store(port, write()) == [0]
        kept = spool.count_bytes()
        with NodeMetrics(spool, stored, lambda: 3).served("127.0.0.1", 0) as at:
            page = httpx2.get(f"http://127.0.0.1:{at}/metrics", trust_env=False).text
    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert figures["promptsmooth_node_tasks", "waiting"] == 1
    assert figures["promptsmooth_node_tasks", "dead"] == 0
    assert figures["promptsmooth_node_spool_bytes",] == kept > 0
    assert figures["promptsmooth_node_stored_total", "0000"] == 1
    assert figures["promptsmooth_node_associations",] == 3
    names = {name for name, *_ in figures}
    alerts = (Path(__file__).parents[3] / "docker/prometheus/node-alerts.yml").read_text()
    assert set(re.findall(r"promptsmooth_node_\w+", alerts)) <= names
    guide = (Path(__file__).parents[3] / "docs/pacs.md").read_text()
    assert all(f"`{alert}`" in guide for alert in re.findall(r"alert: (\w+)", alerts))
