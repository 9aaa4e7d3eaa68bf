"""Results are delivered when the destination says so, and only then."""

import json
import resource
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from app.dicom.audit import Audit
from app.dicom.network.destinations import NotDelivered, send
from app.dicom.network.fetching import accept
from app.dicom.rules import CStore, Stow
from app.dicom.settings import DicomSettings
from app.dicom.web import Web, WebAddress, WebRefused
from models.files.audit_log import AuditLogUnavailable, list_files

from .conftest import create_rules


def failed(*reasons: int) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"Value": [r]}} for r in reasons]}}


@contextmanager
def serve(status: int, body: bytes, kind: str = "application/dicom+json", **headers: str):
    """A PACS that answers every STOW-RS with this; where it is, and what came."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            came.append((self.path, self.headers, content))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # a client need not read all of it
                self.wfile.write(body)

        do_GET = do_POST  # noqa: N815  # the name that the library calls

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web/", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "answer", "delivered"),
    [
        (200, {}, True),
        (200, failed(), True),
        (202, failed(0x0111), True),  # it was there
        (409, failed(0x0111, 0x0111), True),
        (409, failed(0x0111, 0xA700), False),
        (202, failed(0x0110), False),
        (202, {}, False),
        (409, {}, False),
        (200, [], False),
        (500, {}, False),
        (401, {}, False),
    ],
)
def test_stow_counts_as_delivered_what_is_in_the_study(status, answer, delivered):
    with serve(status, json.dumps(answer).encode()) as (url, came):
        destination = Stow(kind="stow", url=url)
        if delivered:
            send([b"one", b"two"], destination, ae_title="US")
        else:
            with pytest.raises(NotDelivered):
                send([b"one", b"two"], destination, ae_title="US")
    ((path, headers, content),) = came
    assert path == "/dicom-web/studies"
    boundary = headers["Content-Type"].rpartition("boundary=")[2].encode()
    parts = content.split(b"--" + boundary)
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:3]] == [b"one\r\n", b"two\r\n"]
    assert parts[3] == b"--\r\n"


def multipart(*bodies: bytes) -> bytes:
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + body + b"\r\n" for body in bodies) + b"--edge--\r\n"


def test_an_object_is_fetched_as_it_is_whatever_bytes_it_has():
    content = b"DICM\r\n--edg\r\n\r\n--\x00" * 3
    kind = 'multipart/related; type="application/dicom"; boundary="edge"'
    with serve(200, multipart(content), kind) as (url, came), Web(WebAddress(url=url)) as web:
        assert web.fetch("1.2", "1.3", "1/4", most_bytes=1000) == content
        with pytest.raises(WebRefused, match="longer"):
            web.fetch("1.2", "1.3", "1.4", most_bytes=-(2**16))
    assert came[0][0] == "/dicom-web/studies/1.2/series/1.3/instances/1%2F4"


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (404, b"", "text/plain", "404"),
        (200, b"", "multipart/related; boundary=edge", "no object"),
        (200, b"DICM", "application/dicom", "no object"),
    ],
)
def test_what_did_not_come_is_said(status, body, kind, sentence):
    with (
        serve(status, body, kind) as (url, _),
        Web(WebAddress(url=url)) as web,
        pytest.raises(WebRefused, match=sentence),
    ):
        web.fetch("1.2", "1.3", "1.4", most_bytes=1000)


@pytest.mark.parametrize("body", [b"{}", b"[{}]", b"<html>", b'[{"0020000E": {"Value": [1]}}]'])
def test_an_answer_that_names_no_instances_is_refused(body):
    with (
        serve(200, body) as (url, _),
        Web(WebAddress(url=url)) as web,
        pytest.raises(WebRefused, match="QIDO"),
    ):
        web.find_instances("1.2", None, None)


def test_an_answer_that_the_server_cut_is_not_taken_for_the_whole():
    found = json.dumps([{"0020000E": {"Value": ["1.3"]}, "00080018": {"Value": ["1.4"]}}]).encode()
    with serve(200, found) as (url, _), Web(WebAddress(url=url)) as web:
        assert web.find_instances("1.2", None, None) == (("1.3", "1.4"),)
    warning = '299 pacs "There are more results"'
    with (
        serve(200, found, Warning=warning) as (url, _),
        Web(WebAddress(url=url)) as web,
        pytest.raises(WebRefused, match="in part"),
    ):
        web.find_instances("1.2", None, None)


def test_an_answer_without_end_is_not_read_to_its_end():
    with serve(200, b"[" + b" " * 2**26 + b"]") as (url, _), Web(WebAddress(url=url)) as web:
        with pytest.raises(WebRefused, match="longer than the node takes"):
            web.find_instances("1.2", None, None)
        with pytest.raises(WebRefused, match="longer than the node takes"):
            web.store([b"one"])


def test_what_does_not_fit_on_the_disk_leaves_no_piece(spool, write):
    content = write().read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            accept(create_rules(), spool, content, "", Audit(DicomSettings()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((spool.folder / "incoming").iterdir()) == []
    assert accept(create_rules(), spool, content, "", Audit(DicomSettings())) == 1


def test_what_is_fetched_is_in_the_audit_log_or_not_taken(spool, write, tmp_path):
    folder, content = tmp_path / "audit", write().read_bytes()
    audit, rules = Audit(DicomSettings(audit_log=folder)), create_rules()
    folder.write_bytes(b"")  # no folder: no entry can be written
    with pytest.raises(AuditLogUnavailable):
        accept(rules, spool, content, "PACS", audit)
    assert spool.count_states() == {}
    assert list((spool.folder / "objects").iterdir()) == []
    folder.unlink()
    assert accept(rules, spool, content, "PACS", audit) == 1
    spool.delivered(spool.find_due("waiting"), [])
    assert accept(rules, spool, content, "PACS", audit, "again") == 1
    others = create_rules({"match": {"modality": ["MR"]}})
    assert accept(others, spool, content, "PACS", audit) == 0
    (path,) = list_files(folder)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["action"], one["source"], one["new"]) for one in entries] == [
        ("dicom.fetched", "PACS", 1)
    ] * 2


def test_credentials_come_from_a_file(tmp_path):
    (tmp_path / "secret").write_text("Bearer abc\n")
    with serve(200, b"{}") as (url, came):
        destination = Stow(kind="stow", url=url, authorization_file=tmp_path / "secret")
        send([b"one"], destination, ae_title="US")
        missing = destination.model_copy(update={"authorization_file": tmp_path / "none"})
        with pytest.raises(NotDelivered):
            send([b"one"], missing, ae_title="US")
    ((_, headers, _),) = came
    assert headers["Authorization"] == "Bearer abc"


def test_nobody_there_is_no_delivery(write):
    content = write().read_bytes()
    for destination in (
        Stow(kind="stow", url="http://127.0.0.1:9/dicom-web"),
        CStore(kind="cstore", host="127.0.0.1", port=9, ae_title="PACS"),
    ):
        with pytest.raises(NotDelivered):
            send([content], destination, ae_title="US")


@pytest.mark.parametrize(
    ("status", "delivered"),
    [(0x0000, True), (0xB000, True), (0x0111, True), (0xA700, False), (0xC000, False)],
)
def test_c_store_counts_as_delivered_what_the_destination_says_it_has(write, status, delivered):
    came = []

    def store(event):
        came.append((str(event.dataset.SOPInstanceUID), event.assoc.requestor.ae_title))
        return status

    ae = AE(ae_title="PACS")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, store)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    port = server.server_address[1]
    destination = CStore(kind="cstore", host="127.0.0.1", port=port, ae_title="PACS")
    objects = [write("a", SOPInstanceUID="1.2.1").read_bytes()]
    try:
        if delivered:
            send(objects, destination, ae_title="US")
        else:
            with pytest.raises(NotDelivered, match=f"0x{status:04X}"):
                send(objects, destination, ae_title="US")
    finally:
        server.shutdown()
        server.server_close()
    assert came == [("1.2.1", "US")]


def test_a_destination_that_does_not_take_reports_has_none(write):
    ae = AE(ae_title="PACS")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    port = server.server_address[1]
    destination = CStore(kind="cstore", host="127.0.0.1", port=port, ae_title="PACS")
    with pytest.raises(NotDelivered):
        send([write().read_bytes()], destination, ae_title="US")
    server.shutdown()
    server.server_close()
