"""A whole service to do harm to: its HTTP side, its Redis, its processes."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import numpy as np
import psutil
from command import PROMPTSMOOTH
from descendants import find_descendants
from PIL import Image
from ports import find_free_port
from redis import Redis
from redis.exceptions import RedisError

from models.testing import create_linear_model, write_linear_model
from worker.health import find_fault
from worker.jobs.queue import create_queue
from worker.store import keyspace
from worker.store.jobs import progress as progress_store

SIZE = 16
RQ_WORKERS, URGENT_WORKERS = 4, 1


HANG_S = 600.0
"""A deadline ends a hang; how long things take is measured, and written down."""


def wait_for(look: Callable[[], Any], *, within_s: float = HANG_S, what: str) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (RedisError, httpx2.TransportError, psutil.NoSuchProcess):
            pass
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {within_s:g} s")


def png(seed: int, size: int) -> bytes:
    """The picture of one job."""
    pixels = np.random.default_rng(seed).integers(60, 200, (size, size, 3)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request: which picture, how many samples, of which model, and how soon."""

    seed: int
    n: int
    model: str = "linear"
    priority: str = "normal"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running `promptsmooth up`."""

    process: subprocess.Popen[bytes]
    http: httpx2.Client
    folder: Path
    long_n: int

    @property
    def engine_socket(self) -> Path:
        """Where the engine listens, or will."""
        host = next(p for p in self.processes("-m worker") if p.cmdline()[-1] == "worker")
        return Path(host.environ()["PROMPTSMOOTH_ENGINE_SOCKET"])

    @property
    def redis(self) -> Redis:
        """A connection of its own to the service's Redis."""
        url = (self.folder / "data" / "redis-url").read_text()
        return Redis.from_url(url, socket_timeout=2)

    def post(self, ask: Ask) -> httpx2.Response:
        """Sends one request, once."""
        size = SIZE if ask.model == "linear" else 64
        fields = {"model": ask.model, "sigma": "0.2", "procedure": "cohen", "n": str(ask.n)}
        fields["priority"] = ask.priority
        files = {"image": png(ask.seed, size)}
        return self.http.post("/certify", data=fields, files=files)

    def submit(self, ask: Ask) -> str:
        """Sends a request until it is accepted, as a client would; the certification's id."""

        def send() -> str | None:
            answer = self.post(ask)
            if answer.status_code == 503:
                time.sleep(0.2)
                return None
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        return str(wait_for(send, what="a request is accepted"))

    def get(self, path: str) -> httpx2.Response:
        return self.http.get(path)

    def follow(self, certification_id: str) -> dict[str, Any]:
        """The certification when it has ended."""

        def look() -> dict[str, Any] | None:
            answer = self.get(f"/certifications/{certification_id}")
            if answer.status_code != 200:
                return None
            found: dict[str, Any] = answer.json()
            return None if found["status"] in ("queued", "running") else found

        return dict(wait_for(look, what=f"{certification_id} ends"))

    def processes(self, part: str) -> list[psutil.Process]:
        """Processes of the service whose command line contains `part`."""
        return find_descendants(psutil.Process(self.process.pid), part)

    def is_ready(self) -> bool:
        """Whether it takes requests.

        Raises:
            RuntimeError: it has ended.
        """
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "service.log").read_text()[-2000:])
        return self.get("/readyz").status_code == 200

    def is_whole(self) -> bool:
        """Whether the engine answers and all RQ workers are there."""
        try:
            (host,) = (p for p in self.processes("-m worker") if p.cmdline()[-1] == "worker")
            workers = [p for p in host.children() if "worker.rq_worker" in p.cmdline()]
            all_there = len(workers) == RQ_WORKERS + URGENT_WORKERS
            return all_there and find_fault(self.engine_socket) is None
        except (ValueError, psutil.NoSuchProcess):
            return False

    def horses(self) -> dict[str, psutil.Process]:
        """The work-horse of each job that runs."""
        redis, found = self.redis, {}
        queue = create_queue(redis)
        for entry in redis.zrange(queue.started_job_registry.key, 0, -1):
            name = redis.hget(f"rq:execution:{entry.decode()}", "worker_name")
            pid = redis.hget(f"rq:worker:{name.decode()}", "pid") if name else None
            if pid is None or not psutil.pid_exists(int(pid)):
                continue
            if children := psutil.Process(int(pid)).children():
                found[entry.decode().partition(":")[0]] = children[0]
        return found

    def counting(self) -> list[str]:
        """The jobs that have counted votes and have more than half of them before them."""
        redis, found = self.redis, []
        for one in self.horses():
            progress = progress_store.find_progress(redis, one)
            if progress is not None and progress.samples_done < progress.samples_total / 2:
                found.append(one)
        return found

    def find_victims(self, random: Random) -> list[str]:
        """Jobs that count now and will for a while; others are sent where there are none."""
        while True:
            try:
                return list(wait_for(self.counting, within_s=1, what="a job counts"))
            except AssertionError:
                self.submit(Ask(seed=random.randrange(10**7, 10**8), n=self.long_n))

    def token(self, certification_id: str) -> bytes | None:
        found: bytes | None = self.redis.get(keyspace.run(certification_id))
        return found

    def has_ended(self, certification_id: str) -> bool:
        return bool(self.redis.exists(keyspace.result(certification_id)))

    def samples_done(self, certification_id: str) -> int:
        """The votes that a job has stored."""
        progress = progress_store.find_progress(self.redis, certification_id)
        return 0 if progress is None else progress.samples_done

    def counts_again(self, certification_id: str, before: bytes | None, done: int) -> bool:
        """Whether another run has stored more votes than there were, or the job has ended."""
        if self.has_ended(certification_id):
            return True
        token = self.redis.get(keyspace.run(certification_id))
        return token not in (None, before) and self.samples_done(certification_id) > done

    @property
    def audit_log(self) -> list[Path]:
        """Its files."""
        return [path for path in (self.folder / "data" / "audit").iterdir() if path.is_file()]

    def verify_audit_log(self) -> None:
        command = [PROMPTSMOOTH, "audit-log", "verify", self.folder / "data" / "audit"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def log(self) -> str:
        return (self.folder / "service.log").read_text()


@contextmanager
def start(
    folder: Path,
    *,
    secret: bytes | None = None,
    long_n: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """A service in a folder of its own, ready; ends with the block."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    write_linear_model(models, create_linear_model(size=SIZE, seed=4))
    (folder / "data").mkdir(exist_ok=True)
    if secret is not None:
        (folder / "data" / "key-secret").write_bytes(secret)
        (folder / "data" / "key-secret").chmod(0o600)
    port = find_free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "PROMPTSMOOTH_MODELS": str(models),
        "PROMPTSMOOTH_SERVE_MODELS": '["linear", "bundled-2"]',
        "PROMPTSMOOTH_RQ_WORKERS": str(RQ_WORKERS),
        "PROMPTSMOOTH_URGENT_WORKERS": str(URGENT_WORKERS),
        "PROMPTSMOOTH_LEARNING_WORKERS": "0",
        "PROMPTSMOOTH_MAX_N": "1000000",
        "PROMPTSMOOTH_CHECKPOINT_INTERVAL_S": "0.2",
        **{f"PROMPTSMOOTH_{name}": value for name, value in (settings or {}).items()},
    }
    command = [PROMPTSMOOTH, "up", "--port", str(port), "--data-dir", folder / "data"]
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
    service = Service(process=process, http=http, folder=folder, long_n=long_n)
    try:
        wait_for(service.is_ready, what="it is ready")
        yield service
    finally:
        http.close()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=HANG_S)
