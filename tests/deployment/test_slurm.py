"""Worker hosts as jobs of a real Slurm: what a cancelled and an expired allocation do to a job."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from ports import find_free_ports
from waiting import running, wait_until

from .slurm import Slurm, find_missing, run_slurm

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(missing := find_missing()) or os.geteuid() != 0,
        reason=f"needs root and Debian's slurm-wlm and redis-tools; missing: {missing}",
    ),
]

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "docker" / "slurm" / "worker.sbatch"
IMAGE = REPOSITORY / "app" / "web" / "examples" / "hand-xray.jpeg"
LONG = {"sigma": "0.25", "procedure": "cohen", "n": "60000"}
# Debian's Redis with TLS, by the name that it has without the package redis-server: with that
# package, every test of the service would find it on the PATH instead of the embedded Valkey.
SERVER = shutil.which("redis-check-rdb")
KILL_WAIT_S = 30  # of slurm.conf, and Slurm's default: what is left after SIGTERM is killed


@dataclass(frozen=True, kw_only=True)
class Service:
    """An app and a Redis with TLS, without any worker."""

    http: httpx2.Client
    host_dir: Path
    queue_port: int

    def submit(self, **fields: str) -> str:
        answer = self.http.post(
            "/certify", files={"image": IMAGE.read_bytes()}, data={**LONG, **fields}
        )
        assert answer.status_code == 202, answer.text
        return answer.headers["location"]

    def get(self, location: str) -> dict:
        found: dict = self.http.get(location).raise_for_status().json()
        return found

    def count_events(self, name: str) -> float:
        """How often something happened to a job, by the service's own metrics."""
        metrics = self.http.get("/metrics").raise_for_status().text
        found = re.search(rf'^\w+\{{[^}}]*"{name}"[^}}]*\}} (\S+)$', metrics, re.MULTILINE)
        return 0.0 if found is None else float(found[1])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """What `docker compose` runs on the machine with the queue, as processes of this one."""
    folder = tmp_path_factory.mktemp("service")
    for name in ("queue", "redis", "proxy", "app", "own-tls", "data"):
        (folder / name).mkdir()
    prepare = [sys.executable, "-m", "app.deployment", "--root", folder]
    subprocess.run([*prepare, "--own-tls", folder / "own-tls"], check=True)
    (folder / "queue" / "key-secret").write_bytes(secrets.token_bytes(32))
    queue_port, port = find_free_ports(2)
    with _run_redis(folder, queue_port), _run_app(folder, queue_port, port) as http:
        yield Service(http=http, host_dir=folder / "queue", queue_port=queue_port)


@contextmanager
def _run_redis(folder: Path, port: int) -> Iterator[None]:
    own = folder / "redis"
    command = [
        "redis-server",
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--dir",
        str(folder / "data"),
    ]
    command += ["--aclfile", str(own / "users.acl"), "--tls-auth-clients", "no"]
    command += ["--tls-cert-file", str(own / "server.crt")]
    command += ["--tls-key-file", str(own / "server.key")]
    with running(command, executable=SERVER, stdout=subprocess.DEVNULL) as process:
        yield
        process.terminate()


@contextmanager
def _run_app(folder: Path, queue_port: int, port: int) -> Iterator[httpx2.Client]:
    environment = {
        **os.environ,
        "REDIS_URL": f"rediss://promptsmooth@127.0.0.1:{queue_port}/0",
        "PROMPTSMOOTH_REDIS_CA": f"{folder}/queue/redis.crt",
        "PROMPTSMOOTH_REDIS_PASSWORD_FILE": f"{folder}/queue/redis-password",
        "PROMPTSMOOTH_DATA_DIR": f"{folder}/data",
    }
    command = [sys.executable, "-m", "app", "--port", str(port)]
    with (
        running(command, env=environment) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        wait_until(lambda: _answers(http), pause_s=0.2)
        yield http
        process.terminate()


def _answers(http: httpx2.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with run_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def start_hosts(slurm: Slurm, service: Service, *options: str) -> str:
    """Submits the script; returns the id of its array."""
    settings = {
        "PROMPTSMOOTH_QUEUE_HOST": "127.0.0.1",
        "PROMPTSMOOTH_QUEUE_PORT": str(service.queue_port),
        "PROMPTSMOOTH_WORKER_HOST_DIR": str(service.host_dir),
        "WORKER_COMMAND": f"{sys.executable} -m worker",
        "PROMPTSMOOTH_DEVICE": "cpu",
        "TMPDIR": str(slurm.folder),
        "PYTHONPATH": str(REPOSITORY),
    }
    small = ("--cpus-per-task=1", "--mem=1G")
    return slurm.run("sbatch", "--parsable", *small, *options, SCRIPT, **settings)


def is_counting(found: dict) -> bool:
    return found["status"] == "running" and found["progress"]["samples_done"] > 0


def wait_for(slurm: Slurm, service: Service, location: str, **holds: str) -> dict:
    """The certification when it has a status; `counting` also needs counted samples."""
    wanted = holds["status"]

    def look() -> dict | None:
        found = service.get(location)
        if wanted == "counting":
            return found if is_counting(found) else None
        return found if found["status"] == wanted else None

    return wait_until(
        look,
        pause_s=0.1,
        progress=lambda: str(service.get(location).get("progress")),
        say=slurm.read_logs,
    )


def wait_for_end(slurm: Slurm, array: str, among: str) -> None:
    """Waits until Slurm knows no running job of that name."""
    wait_until(
        lambda: not any(name == f"{array}_{among}" for name, _ in slurm.list_jobs()),
        pause_s=0.2,
        say=slurm.read_logs,
    )


def list_scratch(slurm: Slurm) -> list[Path]:
    return list(slurm.folder.glob("promptsmooth-??????"))


def test_a_cancelled_allocation_hands_its_job_back_and_the_next_goes_on(
    slurm: Slurm, service: Service
) -> None:
    """Nothing is counted again: the next host begins with the votes that came back."""
    before, retried = map(service.count_events, ("handed_back", "retried"))
    array = start_hosts(slurm, service, "--array=0-0", "--time=60")
    location = service.submit(attempt="1")
    counted = wait_for(slurm, service, location, status="counting")["progress"]["samples_done"]
    began = time.monotonic()
    slurm.run("scancel", f"{array}_0")
    wait_for(slurm, service, location, status="queued")
    took = time.monotonic() - began
    wait_for_end(slurm, array, "0")
    assert took < KILL_WAIT_S, "Slurm would have killed it"
    assert service.count_events("handed_back") > before
    assert service.count_events("retried") == retried, "no attempt was spent"
    assert list_scratch(slurm) == []
    other = start_hosts(slurm, service, "--array=0-0", "--time=60")
    seen = wait_for(slurm, service, location, status="counting")
    assert seen["progress"]["samples_done"] >= counted
    slurm.run("scancel", f"{other}_0")
    wait_for_end(slurm, other, "0")


def test_an_allocation_that_ends_hands_its_job_back_before_its_limit(
    slurm: Slurm, service: Service
) -> None:
    """Slurm sends the signal a minute or two before the limit; the script ends by itself."""
    before, retried = map(service.count_events, ("handed_back", "retried"))
    location = service.submit(attempt="2")
    array = start_hosts(slurm, service, "--array=0-0", "--time=4")
    wait_for(slurm, service, location, status="counting")
    wait_for(slurm, service, location, status="queued")
    wait_for_end(slurm, array, "0")
    assert service.count_events("handed_back") > before
    assert service.count_events("retried") == retried
    ended = slurm.run("scontrol", "show", "job", f"{array}_0")
    assert "JobState=COMPLETED" in ended, ended
    assert "ExitCode=0:0" in ended, ended
