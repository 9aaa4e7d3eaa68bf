"""What certify leaves behind where a service has no witness, or no certificate of a batch."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from command import run

CERTIFICATE = Path(__file__).parents[2] / "frozen/samples/certificates/cohen.json"
FAILURE = {"code": "internal", "detail": "The image is gone."}
FAILED = {"status": "failed", "failure": FAILURE}
Answer = dict[str, Any]


@contextmanager
def serve(answers: dict[str, Answer | Callable[[], Answer]]) -> Iterator[str]:
    """A service that has one answer for each method and path, or makes it; its address."""

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = answers[f"{self.command} {self.path}"]
            body = json.dumps(found() if callable(found) else found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    return folder


def test_a_certificate_is_shown_though_its_witness_failed(folder: Path) -> None:
    finished = {"id": "1", "status": "finished", "certificates": []}
    answers = {
        "POST /certify": finished,
        "GET /certifications/1": finished,
        "POST /certifications/1/witness": FAILED,
    }
    with serve(answers) as url:
        done = run("certify", folder / "a.png", "--server", url, "--witness", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (2, finished)
    assert "there is no witness. The image is gone." in done.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_a_joint_batch_without_certificates_has_its_table_all_the_same(
    folder: Path, tmp_path: Path, as_json: bool
) -> None:
    jobs = [{"id": str(place), "image_index": place, **FAILED} for place in (0, 1)]
    batch = {"id": "9", "done": 2, "total": 2, "certifications": jobs, "refused": []}
    answers = {f"GET /certifications/{job['id']}": job for job in jobs}
    out = tmp_path / "out"
    with serve({"POST /certify": batch, "GET /batches/9": batch, **answers}) as url:
        asked = ("--server", url, "--joint-batch", "--output", out, *["--json"] * as_json)
        done = run("certify", folder, *asked)
    assert done.returncode == 1, done.stderr
    count = f"0 of 2 images have certificates: {out / 'certificates.csv'}\n"
    assert done.stdout == ("[]\n" if as_json else count)
    assert (count in done.stderr) == as_json
    assert json.loads((out / "joint.json").read_text()) == []
    assert (out / "certificates.csv").read_text().count("The image is gone.") == 2


def test_a_row_of_a_joint_batch_is_written_as_soon_as_its_image_has_ended(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "out" / "certificates.csv"
    rows: list[int] = []
    jobs = [{"id": str(place), "image_index": place, **FAILED} for place in (0, 1)]
    running = {"id": "1", "image_index": 1, "status": "running"}

    def look() -> Answer:
        rows.append(len(table.read_text().splitlines()) - 1)
        second = running if len(rows) < 2 else jobs[1]
        done = len(rows)
        return {"done": done, "total": 2, "certifications": [jobs[0], second], "refused": []}

    answers = {f"GET /certifications/{job['id']}": job for job in jobs}
    with serve({"POST /certify": {"id": "9"}, "GET /batches/9": look, **answers}) as url:
        run("certify", folder, "--server", url, "--joint-batch", "--output", table.parent)
    assert rows == [0, 1]
    assert len(table.read_text().splitlines()) == 3


def test_a_joint_batch_continues_nothing(folder: Path, tmp_path: Path) -> None:
    asked = ("--joint-batch", "--output", tmp_path / "out", "--continue", CERTIFICATE)
    done = run("certify", folder, "--server", "http://127.0.0.1:9", *asked)
    assert done.returncode == 2
    assert "--continue goes on from one certificate, not a --joint-batch" in done.stderr
