"""What the node makes of answers that are not the service's."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.client import Client
from app.dicom.certifying import Certifying
from app.dicom.instance import read_instance
from app.dicom.objects import Objects
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool

from .conftest import Write, create_rules


class Portal(ThreadingHTTPServer):
    """A server on the way that answers each request with a page of its own."""

    daemon_threads = True
    status = 200


class _Page(BaseHTTPRequestHandler):
    server: Portal

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = b"<html>Sign in to the network</html>"
        self.send_response(self.server.status)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 202, 400, 451])
def test_what_something_on_the_way_answers_is_no_refusal(
    portal: Portal, spool: Spool, write: Write, status: int
) -> None:
    """The image is tried again: nothing on the way can make it a dead letter."""
    portal.status = status
    rules, sent = create_rules(), write()
    spool.accept(sent, read_instance(sent), rules.rules)
    settings = DicomSettings()
    with Client(f"http://127.0.0.1:{portal.server_port}", patience_s=0) as client:
        assert Certifying(client, Objects(rules, settings, spool), settings, spool).step()
    ((_, _, state, _, reason),) = spool.list_troubled()
    assert state == "waiting"
    assert reason == f"something other than the service answered ({status})"
