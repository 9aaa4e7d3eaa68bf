"""Records an answer of every route into app/server/answers.json: python examples/record_answers.py.

It starts the service, calls every route that answers in JSON once, with a real DICOM image and a
small PNG, and keeps the answers. OpenAPI shows them as examples; a test compares them with the
schemas.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
from demo import IMAGES, free_port, start_service
from PIL import Image
from webhook_receiver import Receiver

from app.server.access.operator_file import now_utc
from app.server.jobs.webhooks.key_webhooks import (
    WEBHOOKS_FILE_NAME,
    KeyWebhooks,
    change_webhooks,
    create_secret,
)
from worker.contract import ANONYMOUS

ANSWERS = Path(__file__).parents[1] / "app" / "server" / "answers.json"
ID = "{certification_id}"


class Recorder:
    """Sends requests and keeps each answer by method, path as in OpenAPI, and status."""

    def __init__(self, url: str) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self._http = httpx2.Client(base_url=url, timeout=60, trust_env=False)

    def ask(self, method: str, path: str, *, at: str | None = None, **body: Any) -> httpx2.Response:
        """The answer to one request; `at` is the address if it differs from the path."""
        answer = self._http.request(method, at or path, **body)
        if not answer.is_success:
            raise SystemExit(f"{method} {at or path}: {answer.status_code} {answer.text}")
        if answer.headers.get("content-type") == "application/json":
            document = answer.json()
            kind = self.answers.setdefault(f"{method} {path} {answer.status_code}", {})
            kind.setdefault(name_answer(document), document)
        return answer

    def follow(self, path: str, at: str) -> httpx2.Response:
        """Polls until the job has ended; returns the last answer."""
        while True:
            answer = self.ask("GET", path, at=at)
            if answer.json()["status"] not in ("queued", "running"):
                return answer
            time.sleep(0.2)

    def wait_until_ready(self) -> None:
        """Returns once the service can certify."""
        while True:
            try:
                if self._http.get("/readyz").is_success:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)


def name_answer(document: dict[str, Any]) -> str:
    """A name that tells the answers of one route apart: the job's state."""
    return str(document.get("status") or ("batch" if "refused" in document else "answer"))


def record_certifications(recorder: Recorder) -> None:
    image = (IMAGES / "chest-ct.dcm").read_bytes()  # of a class that the model knows
    asked = {"files": {"image": image}, "data": {"sigma": ["0.1", "0.25"], "n_max": "1000"}}
    at = recorder.ask("POST", "/certify", **asked).headers["location"]
    document = recorder.follow(f"/certifications/{ID}", at).json()
    query = {"certificate": 0, "sample": [0, 1]}
    recorder.ask("GET", f"/certifications/{ID}/votes", at=f"{at}/votes", params=query)
    recorder.ask("POST", "/audit", json=document)
    wait = {"headers": {"prefer": "wait=60"}}
    recorder.ask("POST", "/certify", **asked, **wait)
    record_continuation(recorder, image)
    several = {**asked, "files": [("image", image), ("image", b"no image at all")]}
    recorder.ask("POST", "/certify", **several)
    at = recorder.ask("POST", "/certify", **several, **wait).json()["links"]["self"]
    recorder.ask("GET", "/batches/{batch_id}", at=at)
    recorder.ask("GET", "/certifications", params={"limit": 2})
    long = {**asked, "data": {"sigma": "0.5", "n_max": "100000"}}
    at = recorder.ask("POST", "/certify", **{**long, "files": several["files"]}).headers["location"]
    recorder.ask("DELETE", "/batches/{batch_id}", at=at)
    at = recorder.ask("POST", "/certify", **long).headers["location"]
    recorder.ask("DELETE", f"/certifications/{ID}", at=at)
    recorder.follow(f"/certifications/{ID}", at)


def record_continuation(recorder: Recorder, image: bytes) -> None:
    data = {"sigma": "1", "n_max": "100", "n_cap": "400", "tolerance": "0"}
    wait = {"headers": {"prefer": "wait=60"}}
    form = {"files": {"image": image}, "data": data}
    at = recorder.ask("POST", "/certify", **form, **wait).json()["links"]["self"]
    path = f"/certifications/{ID}/continue"
    next_at = recorder.ask("POST", path, at=f"{at}/continue").headers["location"]
    recorder.follow(f"/certifications/{ID}", next_at)
    recorder.ask("POST", path, at=f"{at}/continue")


def record_witness(recorder: Recorder) -> None:
    image = (IMAGES / "chest-ct.dcm").read_bytes()
    form = {"files": {"image": image}, "data": {"sigma": "0.25", "n_max": "500"}}
    at = recorder.ask("POST", "/certify", **form).headers["location"]
    recorder.follow(f"/certifications/{ID}", at)
    recorder.ask("GET", f"/certifications/{ID}/yardsticks", at=f"{at}/yardsticks")
    path = f"/certifications/{ID}/witness"
    recorder.ask("POST", path, at=f"{at}/witness")
    recorder.follow(path, f"{at}/witness")
    recorder.ask("POST", path, at=f"{at}/witness")


def record_prompts(recorder: Recorder) -> None:
    recorder.ask("GET", "/prompts")
    at = "/prompts/bundled-2-mednist"
    names = recorder.ask("GET", "/prompts/{prompt_id}", at=at).json()["class_names"]
    recorder.ask("GET", "/prompts/{prompt_id}/ctx", at=f"{at}/ctx")
    file = recorder.ask("GET", "/prompts/{prompt_id}/ctx.safetensors", at=f"{at}/ctx.safetensors")
    said = {"licence": "Apache-2.0", "source": "learned at another site"}
    fields = {"id": "from-elsewhere", "model": "bundled-2", "class_name": names, **said}
    for _ in ("201", "200"):  # new, then the same again
        recorder.ask("POST", "/prompts", files={"file": file.content}, data=fields)
    form = {
        "id": "scans",
        "image_class": ["dark", "dark", "bright", "bright"],
        "shots": "2",
        "epochs": "1",
    }
    files = [("image", png) for png in create_images()]
    at = recorder.ask("POST", "/prompts/learn", files=files, data=form).headers["location"]
    recorder.follow("/prompt-jobs/{job_id}", at)
    recorder.ask("DELETE", "/prompt-jobs/{job_id}", at=at)


def create_images() -> Iterator[bytes]:
    """Two dark and two bright grey images."""
    for grey in (40, 60, 180, 200):
        buffer = BytesIO()
        Image.new("L", (8, 8), grey).save(buffer, "PNG")
        yield buffer.getvalue()


def record_the_rest(recorder: Recorder) -> None:
    for path in ("/healthz", "/readyz", "/version", "/models", "/keys/signing", "/capacity"):
        recorder.ask("GET", path)
    recorder.ask("GET", "/models/{model_id}", at="/models/bundled-2")
    recorder.ask("POST", "/preview", files={"image": next(create_images())})
    asked = {"sigma": (None, "0.1"), "target_radius": (None, "0.25")}
    recorder.ask("POST", "/reach", files=asked)


def write_dataset(folder: Path) -> None:
    """Two dark and two bright images where the service looks for datasets."""
    for place, png in enumerate(create_images()):
        path = folder / "greys" / "test" / ("dark" if place < 2 else "bright") / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    os.environ["PROMPTSMOOTH_DATASETS"] = str(folder)


def record_evaluations(recorder: Recorder) -> None:
    asked = {"json": {"dataset": "greys", "images": 2, "sigma": ["0.25"], "n_max": 100}}
    recorder.ask("GET", "/datasets")
    recorder.ask("POST", "/evaluations/estimate", **asked)
    path = "/evaluations/{evaluation_id}"
    at = recorder.ask("POST", "/evaluations", **asked).headers["location"]
    recorder.follow(path, at)
    recorder.ask("GET", f"{path}/images", at=f"{at}/images")
    recorder.ask("GET", f"{path}/{{name}}", at=f"{at}/results.json")
    recorder.ask("GET", "/evaluations")
    recorder.ask("DELETE", path, at=at, params={"only": "cancel"})


@contextmanager
def receiving(folder: Path) -> Iterator[str]:
    """A receiver of webhooks, and a service that may call it: settings and a secret."""
    secret = create_secret(now_utc())
    with change_webhooks(folder / "data" / WEBHOOKS_FILE_NAME) as found:
        found[ANONYMOUS] = KeyWebhooks(key_id=ANONYMOUS, secrets=(secret,))
    with Receiver("127.0.0.1", free_port(), secret.secret) as receiver:
        url = f"http://127.0.0.1:{receiver.server_port}"
        os.environ["PROMPTSMOOTH_WEBHOOK_RECEIVERS"] = json.dumps([url])
        os.environ["PROMPTSMOOTH_WEBHOOK_NETWORKS"] = '["127.0.0.0/8"]'
        Thread(target=receiver.serve_forever, daemon=True).start()
        yield url


def record_webhooks(recorder: Recorder, url: str) -> None:
    recorder.ask("POST", "/webhooks/test", json={"callback_url": url})


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # --help records nothing
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, receiving(Path(folder)) as url:
        write_dataset(Path(folder) / "datasets")
        process = start_service(port, Path(folder))
        recorder = Recorder(f"http://127.0.0.1:{port}")
        try:
            recorder.wait_until_ready()
            record_certifications(recorder)
            record_witness(recorder)
            record_prompts(recorder)
            record_evaluations(recorder)
            record_the_rest(recorder)
            record_webhooks(recorder, url)
        finally:
            process.terminate()
            process.wait()
    text = json.dumps(recorder.answers, indent=1, sort_keys=True, ensure_ascii=False)
    ANSWERS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
