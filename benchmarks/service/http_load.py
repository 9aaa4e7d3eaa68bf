"""What a flood of requests does to the service: python benchmarks/service/http_load.py

Starts `promptsmooth up` on this machine and submits different images of about 0.6 MB at a fixed
rate over at most 100 connections, whether or not earlier submissions were answered:

1. ordinary: 10 a second;
2. hostile: the same, while other clients send headers and bodies one byte a second;
3. flood: far more than can be certified, with a short queue;
4. crowd: 200 clients, each submits anew a second after an answer or when Retry-After says, beside
   50 open event streams and 20 clients that read a byte a second.

For each phase it reports how long submissions took from when they were due, the statuses, and how
long /healthz took meanwhile. Writes results/http-load.json and .md beside this file.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import count
from pathlib import Path

import httpx2
import numpy as np
from crowd import CLIENTS, LISTENERS, SLOW_READERS, submit_as_a_crowd
from health import watching_health
from PIL import Image

RESULTS = Path(__file__).parents[1] / "results"
PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
CONNECTIONS, SIDE_PX, IMAGES = 100, 448, 32
SLOW_CLIENTS = 20


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What was submitted and what happened. Times are in milliseconds."""

    name: str
    offered_per_s: float
    seconds: float
    statuses: dict[str, int]
    submission_p50: float
    submission_p95: float
    submission_max: float
    healthz_p95: float
    healthz_max: float


@dataclass(frozen=True, kw_only=True)
class Began:
    """When and how a measurement began: `load` is the load average, from other work."""

    day: str
    load: float
    seconds: float


def create_images() -> list[bytes]:
    """PNG files of noise, which do not compress."""
    words = np.random.default_rng(5)
    images = []
    for _ in range(IMAGES):
        file = BytesIO()
        pixels = words.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        images.append(file.getvalue())
    return images


@contextmanager
def run_service(folder: Path, port: int, **settings: str) -> Iterator[str]:
    """Runs a separate service for the block; yields its address."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        **{f"PROMPTSMOOTH_{name.upper()}": value for name, value in settings.items()},
    }
    command = [str(PROMPTSMOOTH), "up", "--port", str(port), "--data-dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  our own command
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], within_s: float = 90) -> None:
    """Returns once the service can certify."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the service ended; see its log")
        try:
            if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"not ready within {within_s:g} s")


async def offer(
    http: httpx2.AsyncClient, images: list[bytes], *, rate: float, seconds: float, attempts: count
) -> tuple[list[float], Counter[str]]:
    """Sends submissions when they are due. No two are alike, so each is certified."""
    taken_ms: list[float] = []
    statuses: Counter[str] = Counter()
    started = time.monotonic()

    async def submit(number: int, due: float) -> None:
        fields = {"sigma": "0.25", "n_max": "64", "attempt": str(next(attempts) % 10_000)}
        files = {"image": images[number % len(images)]}
        try:
            answer = await http.post("/certify", data=fields, files=files)
            statuses[str(answer.status_code)] += 1
        except httpx2.TransportError as error:
            statuses[type(error).__name__] += 1
        taken_ms.append((time.monotonic() - due) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(submit(number, due))
    return taken_ms, statuses


@asynccontextmanager
async def slow_clients(port: int) -> AsyncIterator[None]:
    """Clients that send a header or a body one byte a second, for ever."""

    async def drip(first: bytes) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(first)
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            except OSError:
                await asyncio.sleep(1)

    header = b"POST /certify HTTP/1.1\r\nHost: a\r\nX-Slow: "
    body = (
        b"POST /certify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    tasks = [asyncio.create_task(drip(first)) for first in [header, body] * (SLOW_CLIENTS // 2)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def run_phase(
    name: str, url: str, images: list[bytes], *, rate: float, seconds: float, attempts: count
) -> Phase:
    """Runs one phase and measures it."""
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    with watching_health(url) as health:
        async with httpx2.AsyncClient(
            base_url=url, limits=limits, timeout=60, trust_env=False
        ) as http:
            taken, statuses = await offer(
                http, images, rate=rate, seconds=seconds, attempts=attempts
            )
    return Phase(
        name=name,
        offered_per_s=rate,
        seconds=seconds,
        statuses=dict(sorted(statuses.items())),
        submission_p50=share(taken, 50),
        submission_p95=share(taken, 95),
        submission_max=share(taken, 100),
        healthz_p95=share(health, 95),
        healthz_max=share(health, 100),
    )


async def run_crowd(url: str, images: list[bytes], *, seconds: float, attempts: count) -> Phase:
    """Runs the phase of the crowd and measures it."""
    with watching_health(url) as health:
        seen = await submit_as_a_crowd(url, images, seconds=seconds, attempts=attempts)
    if seen.refused_without_a_time:
        raise SystemExit(f"{seen.refused_without_a_time} refusals do not say when to come again")
    return Phase(
        name="crowd",
        offered_per_s=round(len(seen.taken_ms) / seconds, 1),
        seconds=seconds,
        statuses=dict(sorted(seen.statuses.items())),
        submission_p50=share(seen.taken_ms, 50),
        submission_p95=share(seen.taken_ms, 95),
        submission_max=share(seen.taken_ms, 100),
        healthz_p95=share(health, 95),
        healthz_max=share(health, 100),
    )


def share(values: list[float], percent: float) -> float:
    """A percentile, rounded to a tenth."""
    return round(float(np.percentile(values, percent)), 1) if len(values) else float("nan")


async def measure(url: str, port: int, images: list[bytes], seconds: float) -> list[Phase]:
    """Runs all phases against one service."""
    attempts = count()
    await run_phase("warm-up", url, images, rate=5, seconds=3, attempts=attempts)
    ordinary = await run_phase("ordinary", url, images, rate=10, seconds=seconds, attempts=attempts)
    async with slow_clients(port):
        hostile = await run_phase(
            "hostile", url, images, rate=10, seconds=seconds / 3, attempts=attempts
        )
    flood = await run_phase("flood", url, images, rate=60, seconds=seconds / 3, attempts=attempts)
    crowd = await run_crowd(url, images, seconds=seconds, attempts=attempts)
    return [ordinary, hostile, flood, crowd]


def write_results(phases: list[Phase], image_bytes: int, began: Began) -> None:
    """Writes the JSON and the Markdown page."""
    document = {
        "began": asdict(began),
        "machine": {"processor": platform.machine(), "cpus": os.cpu_count()},
        "python": platform.python_version(),
        "image_bytes": image_bytes,
        "connections": CONNECTIONS,
        "slow_clients": SLOW_CLIENTS,
        "crowd": {"clients": CLIENTS, "listeners": LISTENERS, "slow_readers": SLOW_READERS},
        "phases": [asdict(phase) for phase in phases],
    }
    (RESULTS / "http-load.json").write_text(json.dumps(document, indent=1) + "\n")
    rows = [
        f"| {p.name} | {p.offered_per_s:g} | {p.seconds:g} | "
        f"{', '.join(f'{n} × {status}' for status, n in p.statuses.items())} | "
        f"{p.submission_p50} | {p.submission_p95} | {p.submission_max} | {p.healthz_p95} | "
        f"{p.healthz_max} |"
        for p in phases
    ]
    text = (
        "# The service under a flood\n\n"
        f"`python benchmarks/service/http_load.py --seconds {began.seconds:g}`, on {began.day} at "
        f"a load average of {began.load:.0f} from other work just before: one app, one worker "
        f"host, the bundled model, all on {os.cpu_count()} CPU cores, which the client uses too. "
        f"Images of {image_bytes / 1e6:.2f} MB, {CONNECTIONS} connections; in the hostile phase "
        f"beside {SLOW_CLIENTS} clients that send a byte a second. The crowd is {CLIENTS} clients, "
        "each of which submits anew a second after its answer, or when Retry-After says, beside "
        f"{LISTENERS} open event streams and {SLOW_READERS} clients that read a byte a second. "
        "Milliseconds from when a submission was due.\n\n"
        "| phase | offered a second | seconds | answers | p50 | p95 | max | /healthz p95 | max |\n"
        "|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    (RESULTS / "http-load.md").write_text(text)
    sys.stdout.write(text)


def main() -> None:
    """Measures all phases and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the first phase")
    asked = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    began = Began(day=time.strftime("%Y-%m-%d"), load=os.getloadavg()[0], seconds=asked.seconds)
    images = create_images()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_service(Path(folder), port, max_queued_jobs="200") as url,
    ):
        phases = asyncio.run(measure(url, port, images, asked.seconds))
    write_results(phases, sum(map(len, images)) // len(images), began)


if __name__ == "__main__":
    main()
