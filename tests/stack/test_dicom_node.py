"""A node beside the running service: an image comes by C-STORE, its results go back by C-STORE."""

import re

import pypdfium2
import pytest
from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE
from waiting import HANG_S, wait_until

pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")

from dicom_node import RULE, NodeProcess, write_cine, write_series
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage
from pynetdicom import AE, evt

from app.client import Client
from app.dicom.certifying import Certifying
from app.dicom.instance import read_instance
from app.dicom.objects import Objects
from app.dicom.rules import load_rules
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool

CINE = """
[[rules]]
name = "cine"
match = { modality = ["US"] }
request = { sigma = ["0.25"], n_max = 64 }
frame = { every = 2, at_most = 3 }
joint = true
send_to = ["pacs"]

[[rules]]
name = "research"
match = { modality = ["DX"] }
request = { sigma = ["0.25"], n_max = 64 }
pseudonymise = true
send_to = ["pacs"]
"""


@pytest.fixture
def received():
    """A PACS that takes reports; what it has, by SOP instance, and its port."""
    found: dict[str, object] = {}

    def store(event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        found[dataset.SOPInstanceUID] = dataset
        return 0

    ae = AE(ae_title="PACS")
    for sop_class in (Comprehensive3DSRStorage, EncapsulatedPDFStorage):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    yield found, server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def node(stack, received, tmp_path, free_port):
    _, port = received
    rules = (
        '[destinations.pacs]\nkind = "cstore"\nhost = "127.0.0.1"\nae_title = "PACS"\n'
        f"port = {port}\n{RULE.format(send_to=['pacs'])}{CINE}"
    )
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    settings = {"settle_s": "1", "pseudonym_salt_file": str(tmp_path / "salt")}
    node = NodeProcess(tmp_path / "node", str(stack.http.base_url), free_port, rules, **settings)
    node.start()
    yield node
    node.stop()


def send(node, paths):
    ae = AE(ae_title="SENDER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = HANG_S
    images = [dcmread(path) for path in paths]
    for sop_class in {image.SOPClassUID for image in images}:
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", node.port, ae_title="PROMPTSMOOTH")
    assert association.is_established
    statuses = [association.send_c_store(image).Status for image in images]
    association.release()
    assert set(statuses) == {0}


def test_each_image_gets_one_report_and_one_pdf_however_often_it_is_sent_or_the_node_killed(
    stack, node, received, tmp_path
):
    paths = write_series(tmp_path / "series", 3)
    found, _ = received
    send(node, paths)
    node.kill()
    node.start()
    send(node, paths)
    wait_until(lambda: len(found) >= 6, progress=lambda: len(found), say=lambda: node.log)
    node.wait_for("done", 3)
    send(node, paths)
    shown = node.status()
    assert (shown["done"], shown["waiting"], shown["spooled_bytes"]) == (3, 0, 0)
    assert len(found) == 6
    images = [dcmread(path) for path in paths]
    sources = {image.SOPInstanceUID for image in images}
    reports = [one for one in found.values() if one.SOPClassUID == Comprehensive3DSRStorage]
    pdfs = [one for one in found.values() if one.SOPClassUID == EncapsulatedPDFStorage]
    about = {
        one.CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        for one in reports
    }
    assert about == {one.SourceInstanceSequence[0].ReferencedSOPInstanceUID for one in pdfs}
    assert about == sources
    for one in found.values():
        assert one.StudyInstanceUID == images[0].StudyInstanceUID
        assert one.PatientID == images[0].PatientID
    uids = [*sources, images[0].StudyInstanceUID, images[0].SeriesInstanceUID]
    assert not [uid for uid in uids if uid in node.log], "logs hold no header"


@pytest.mark.long
def test_frames_of_a_cine_have_a_report_each_and_one_together_however_often_it_is_sent_or_killed(
    node, received, tmp_path
):
    path, (found, _) = write_cine(tmp_path / "cine", 9), received
    image = dcmread(path)
    pixels = image.pixel_array.copy()
    pixels[6] = pixels[2]  # a still: to the service the same image, whose results are two
    image.PixelData = pixels.tobytes()
    image.save_as(path)
    send(node, [path])
    node.kill()
    node.start()
    send(node, [path])
    node.wait_for("done", 4)
    send(node, [path])
    shown = node.status()
    assert (shown["done"], shown["gathering"], shown["spooled_bytes"]) == (4, 0, 0)
    reports = [one for one in found.values() if one.SOPClassUID == Comprehensive3DSRStorage]
    assert (len(reports), len(found)) == (4, 7)
    assert {one.StudyInstanceUID for one in reports} == {image.StudyInstanceUID}
    named = sorted(read_frames(report, image.SOPInstanceUID) for report in reports)
    assert named == [[1], [1, 3, 7], [3], [7]]
    (joint,) = [report for report in reports if report.SeriesNumber == 9902]
    (count,) = {item.MeasuredValueSequence[0].NumericValue for item in items(joint, "images")}
    assert count == 3


def test_beside_pseudonyms_the_printed_report_shows_no_image(node, received, tmp_path):
    named, hidden = write_series(tmp_path / "series", 2, seed=12)
    image, (found, _) = dcmread(hidden), received
    image.Modality = "DX"
    image.save_as(hidden)
    send(node, [named, hidden])
    node.wait_for("done", 2)
    pages = [one for one in found.values() if one.SOPClassUID == EncapsulatedPDFStorage]
    shown = {one.PatientID == image.PatientID: count_pictures(one) for one in pages}
    assert shown == {True: 1, False: 0}


def count_pictures(pdf):
    """Pictures on the pages of an Encapsulated PDF."""
    document, kind = pypdfium2.PdfDocument(pdf.EncapsulatedDocument), FPDF_PAGEOBJ_IMAGE
    return sum(len(list(page.get_objects(filter=[kind]))) for page in document)


def read_frames(report, instance):
    """The frames, from 1, of the one image that a report is about."""
    (about,) = {
        (one.ReferencedSOPInstanceUID, str(one.ReferencedFrameNumber))
        for item in items(report, "121112")
        for one in item.ReferencedSOPSequence
    }
    assert about[0] == instance
    return [int(number) for number in re.findall(r"\d+", about[1])]


def items(container, name):
    """The content items of this name, however deep."""
    for item in container.get("ContentSequence", ()):
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeValue == name:
            yield item
        yield from items(item, name)


@pytest.fixture
def waiting(tmp_path):
    """A spool in which an image waits for the service."""
    (path,) = write_series(tmp_path / "series", 1, seed=11)
    (tmp_path / "rules.toml").write_text(
        '[destinations.pacs]\nkind = "stow"\nurl = "http://127.0.0.1:9/dicom-web"\n'
        + RULE.format(send_to=["pacs"])
    )
    spool = Spool(tmp_path / "spool", most_bytes=10**7)
    rules = load_rules(tmp_path / "rules.toml")
    spool.accept(path, read_instance(path), rules.rules)
    yield spool
    spool.close()


def create_certifying(client, settings, spool):
    objects = Objects(load_rules(spool.folder.parent / "rules.toml"), settings, spool)
    return Certifying(client, objects, settings, spool)


def test_a_certification_that_the_service_has_lost_is_asked_for_again(stack, waiting):
    url = str(stack.http.base_url)
    with Client(url, timeout_s=HANG_S, patience_s=0) as client:
        certifying = create_certifying(client, DicomSettings(first_retry_s=0.1), waiting)
        assert certifying.step()
        first = waiting.find_due("certifying").certification
        client.cancel(first)
        client.wait(first)
        # A busy disk confirms late: the answer is 503 then, and the next one 204 or 404.
        purged = f"/certifications/{first}"
        wait_until(lambda: stack.http.delete(purged).status_code in (204, 404))
        wait_until(lambda: certifying.step() and waiting.count_states().get("owed"))
    task = waiting.find_due("owed")
    assert task.submission == 1
    assert task.certification != first
    assert all(path.exists() for path in waiting.result_paths(task))


def test_an_image_waits_for_a_service_that_is_away_and_is_given_up_in_the_end(waiting):
    start = waiting.find_due("waiting").since + 1
    moment = [start]
    waiting.clock = lambda: moment[0]
    settings = DicomSettings(first_retry_s=10, longest_retry_s=40, give_up_s=200)
    with Client("http://127.0.0.1:9", patience_s=0) as client:
        certifying = create_certifying(client, settings, waiting)
        moments = []
        while "dead" not in waiting.count_states():
            if certifying.step():
                moments.append(round(moment[0] - start))
            moment[0] += 10
    assert moments[:5] == [0, 10, 30, 70, 110]
    ((_, _, state, tries, reason),) = waiting.list_troubled()
    assert (state, tries, reason) == ("dead", len(moments) - 1, "the service does not answer")
    assert waiting.count_bytes() > 0


def test_what_the_service_refuses_is_a_dead_letter_with_its_reason(node, tmp_path):
    (path,) = write_series(tmp_path / "series", 1)
    dataset = dcmread(path)
    dataset.PhotometricInterpretation = "XYZ"
    dataset.save_as(path)
    send(node, [path])
    node.wait_for("dead", 1)
    (trouble,) = node.status()["troubled"]
    assert trouble["reason"] == "the service refused it: pixels_unsupported"
