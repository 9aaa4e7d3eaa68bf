"""The whole service as `promptsmooth up` runs it: real Redis protocol, RQ, engine and HTTP."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
from command import PROMPTSMOOTH
from descendants import find_descendants
from PIL import Image
from ports import find_free_port
from same_noise import with_secret
from waiting import HANG_S, wait_until

ENDED = ("finished", "failed", "cancelled")
WAIT_S = 300  # the most that can be granted


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running service, and what a test wants of it."""

    process: subprocess.Popen[bytes]
    http: httpx2.Client
    log: Path

    def certify(self, image: bytes, *, wait: int = WAIT_S, **fields: object) -> httpx2.Response:
        if "n" in fields:
            fields.setdefault("procedure", "cohen")
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return self.http.post("/certify", files={"image": image}, data=fields, headers=headers)

    def follow(self, location: str) -> dict:
        """The certification when it has ended; it may take as long as its samples go on."""
        return self.wait_for(location, lambda found: found["status"] in ENDED)

    def count(self, location: str, samples: int = 1) -> int:
        """Waits until so many samples are counted; says how many. More must be to come."""
        found = self.wait_for(
            location, lambda found: found["status"] in ENDED or samples_done(found) >= samples
        )
        assert found["status"] == "running", found
        return samples_done(found)

    def wait_for(self, location: str, holds: Callable[[dict], bool]) -> dict:
        found: dict = {}

        def look() -> dict | None:
            answer = self.http.get(location)
            if answer.status_code == 503:  # Redis was slow for a moment
                return None
            found.clear()
            found.update(answer.raise_for_status().json())
            return found if holds(found) else None

        return wait_until(
            look,
            pause_s=0.05,
            progress=lambda: (found.get("status"), samples_done(found)),
            say=self.log.read_text,
        )

    def processes(self, part: str) -> list[psutil.Process]:
        """Processes of this service whose command line contains `part`."""
        return find_descendants(psutil.Process(self.process.pid), part)


def samples_done(found: dict) -> int:
    """How many samples of a certification are counted, as it says itself."""
    return (found.get("progress") or {}).get("samples_done", 0)


def start_stack(folder: Path, port: int, *, models: Path, **settings: str) -> Stack:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "PROMPTSMOOTH_MODELS": str(models),
        "PROMPTSMOOTH_SERVE_MODELS": '["bundled-2", "linear"]',
        "PROMPTSMOOTH_RQ_WORKERS": "4",
        "PROMPTSMOOTH_URGENT_WORKERS": "0",  # each takes a second and more to start
        "PROMPTSMOOTH_WAIT_CAP_S": str(WAIT_S),
        "PROMPTSMOOTH_DECODE_TIMEOUT_S": f"{HANG_S:g}",
        **{f"PROMPTSMOOTH_{name.upper()}": value for name, value in settings.items()},
    }
    data_dir = with_secret(folder / "data")
    command = [str(PROMPTSMOOTH), "up", "--port", str(port), "--data-dir", str(data_dir)]
    log = folder / "service.log"
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S, trust_env=False)
    stack = Stack(process=process, http=http, log=log)
    wait_until_ready(stack)
    return stack


def wait_until_ready(stack: Stack) -> None:
    def is_ready() -> bool:
        assert stack.process.poll() is None, stack.log.read_text()
        try:
            return stack.http.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    wait_until(is_ready, pause_s=0.1, say=stack.log.read_text)


def stop_stack(stack: Stack) -> int:
    stack.http.close()
    stack.process.send_signal(signal.SIGINT)
    return stack.process.wait(timeout=HANG_S)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets with one in it, `planes`: two pictures for the linear model."""
    folder, rng = tmp_path_factory.mktemp("datasets"), np.random.default_rng(12)
    for name in ("above", "below"):
        path = folder / "planes" / "test" / name / "0.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(rng.integers(0, 256, (3, 16, 16)).astype(np.uint8)))
    return folder


@pytest.fixture(scope="session")
def stack(
    models_folder: Path, datasets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    port, folder = find_free_port(), tmp_path_factory.mktemp("stack")
    running = start_stack(
        folder, port, models=models_folder, datasets=str(datasets), urgent_workers="1"
    )
    yield running
    if running.process.poll() is None:
        stop_stack(running)


def png(image: np.ndarray) -> bytes:
    """A PNG of a prepared image (3, H, W): decoded and prepared again it is the same integers."""
    buffer = BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def to_png():
    return png


@pytest.fixture(scope="session")
def start():
    """Starts a service of the test's own; the test stops it."""
    return start_stack


@pytest.fixture(scope="session")
def stop():
    return stop_stack
