"""A page of another origin in the same browser changes nothing on a service without keys."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

SEND = """([address, fields, name, image]) => {
    const form = document.createElement("form");
    Object.assign(form, {method: "POST", action: address, enctype: "multipart/form-data"});
    const input = (attributes) => form.append(Object.assign(document.createElement("input"),
        attributes));
    for (const [name, value] of Object.entries(fields)) input({name, value});
    const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], "a"));
    input({name, type: "file", files: files.files});
    document.body.append(form);
    form.submit();
}"""
FORMS = (
    ("certify", {"sigma": "0.25"}, "image"),
    ("prompts", {"id": "foreign", "model": "bundled-2"}, "file"),
)


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><body></body>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=["localhost", "127.0.0.1"])  # another site; the same one, another port
def elsewhere(request: pytest.FixtureRequest) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{request.param}:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_form_of_another_origin_changes_nothing(
    chromium: Any, service: Any, elsewhere: str, xray: str
) -> None:
    """The kind of request that a browser sends to anybody without asking."""
    image = base64.b64encode(Path(xray).read_bytes()).decode()
    before = service.get("certifications")
    context = chromium.new_context()
    page = context.new_page()
    for path, fields, name in FORMS:
        page.goto(elsewhere)
        address = f"{service.url}/{path}"
        with page.expect_response(address) as sent:
            page.evaluate(SEND, [address, fields, name, image])
        assert (sent.value.status, sent.value.json()["code"]) == (403, "origin_refused")
    context.close()
    assert service.get("certifications") == before
    assert service.get("prompts/foreign")["code"] == "prompt_not_found"
