"""What one decision takes beside its samples: python benchmarks/service/one_decision.py

“Is the radius at least half of sigma?” for images whose samples all vote alike, sent to an idle
`promptsmooth up` one after another, and then by 8 clients at a time. A decision's time is divided
as the service's own records have it:

1. accept: from POST until the job is stored: HTTP, decoding, the model's size, Redis;
2. begin: until its work-horse runs: the queue, the RQ worker, its fork;
3. count: until the result is stored: engine, looks, votes; the engine's own part is measured too;
4. tell: until the client has the certificate.

CPU seconds are those of each kind of process. The bundled model, and a ViT-B/32 with random
weights. Writes results/one-decision.json and .md.
"""

import io
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import psutil
import typer
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from ready import wait_until_ready

RESULTS = Path(__file__).parents[1] / "results"
EXAMPLE = Path(__file__).parents[2] / "app" / "web" / "examples" / "pneumonia.jpeg"
PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
_QUESTION = {"sigma": "0.25", "target_radius": "0.125", "n_max": "1000"}
_CLASSES = ["tumour", "stroma"]
_CLIENTS = 8
_KINDS = {  # by what their command lines hold; what is below them counts with them
    "engine": "worker.engine",
    "RQ workers and their work-horses": "worker.rq_worker",
    "decoder": "models.imaging.decoder",
    "app": "-m app",
    "Valkey": "unixsocket",
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Seconds of one decision, and its samples."""

    accept: float
    begin: float
    count: float
    tell: float
    samples: int

    @property
    def total(self) -> float:
        return self.accept + self.begin + self.count + self.tell


def create_png(number: int) -> bytes:
    """The page's example of a chest X-ray, other than all others in a few pixels."""
    pixels = np.asarray(Image.open(EXAMPLE).convert("RGB")).copy()
    pixels[:8, :8] = np.random.default_rng(number).integers(0, 256, (8, 8, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def add_vit(folder: Path) -> None:
    """Adds QuiltNet, a ViT-B/32, with random weights to a models folder."""
    import torch

    from models.catalogue import load_catalogue
    from models.installation.add import add_model
    from models.vlm._imports import get_open_clip

    torch.manual_seed(0)
    weights = folder.with_suffix(".pt")
    torch.save(get_open_clip().create_model("ViT-B-32").state_dict(), weights)
    add_model(load_catalogue().describe("quiltnet-b32"), weights, folder)
    weights.unlink()


@contextmanager
def run_service(
    folder: Path, models: Path, model: str, port: int
) -> Iterator[tuple[httpx2.Client, int]]:
    """`promptsmooth up` with this model alone, once it is ready: a client, and its process id."""
    environment = os.environ | {
        "PROMPTSMOOTH_MODELS": str(models),
        "PROMPTSMOOTH_SERVE_MODELS": json.dumps([model]),
    }
    command = [str(PROMPTSMOOTH), "up", "--port", str(port), "--data-dir", str(folder / "data")]
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
    try:
        base_url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=base_url, timeout=90, trust_env=False) as http:
            wait_until_ready(http, service, folder / "service.log")
            yield http, service.pid
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(timeout=60)


def decide(http: httpx2.Client, model: str, number: int) -> tuple[str, datetime, datetime]:
    """Asks for one decision and waits for it: its id, when it was sent, and when it was here."""
    fields: dict[str, Any] = {**_QUESTION, "model": model}
    if model != "bundled-2":
        fields["class_name"] = _CLASSES
    image = create_png(number)
    sent = datetime.now(UTC)
    answer = http.post(
        "/certify", files={"image": image}, data=fields, headers={"Prefer": "wait=60"}
    )
    here = datetime.now(UTC)
    found = answer.raise_for_status().json()
    (certificate,) = found["certificates"]
    if certificate["stopped_by"] != "target_reached":
        raise RuntimeError(f"the image is not easy: {certificate['stopped_by']}")
    return found["id"], sent, here


def read_decision(
    http: httpx2.Client, ended: dict[str, Any], sent: datetime, here: datetime
) -> Decision:
    """Divides a decision by what the service recorded of it."""
    found = http.get(f"/certifications/{ended['certification_id']}").raise_for_status().json()
    accept = (datetime.fromisoformat(found["submitted_at"]) - sent).total_seconds()
    stored = ended["since_submission_s"]
    return Decision(
        accept=accept,
        begin=stored - ended["seconds"],
        count=ended["seconds"],
        tell=(here - sent).total_seconds() - accept - stored,
        samples=sum(one["n_used"] for one in found["certificates"]),
    )


def read_ends(log: Path) -> dict[str, dict[str, Any]]:
    """What the work-horses logged at the end of each job, by its id."""
    lines = (line for line in log.read_text().splitlines() if "certification_ended" in line)
    ends = [json.loads(line[line.index("{") :]) for line in lines]
    return {end["certification_id"]: end for end in ends}


def read_engine_s(http: httpx2.Client) -> float:
    """Seconds for which the engine computed, by its own count."""
    text = http.get("/metrics").raise_for_status().text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "promptsmooth_worker_batch_seconds_total"
    )


def count_cpu_s(pid: int) -> dict[str, float]:
    """Processor seconds so far of each kind of a service's processes, and of their children."""
    seconds = dict.fromkeys(_KINDS, 0.0)
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended: its parent counts it
            command, times = " ".join(one.cmdline()), one.cpu_times()
            kind = next((name for name, part in _KINDS.items() if part in command), None)
            if kind is not None:
                seconds[kind] += times.user + times.system + times.children_user
                seconds[kind] += times.children_system
    return seconds


def measure(http: httpx2.Client, pid: int, log: Path, model: str, number: int) -> dict[str, Any]:
    """Decisions one after another, and then by several clients at a time."""
    warm, alone, together = (range(start, start + number) for start in (0, 1_000, 2_000))
    for image in warm[:3]:
        decide(http, model, image)
    engine_s, before = read_engine_s(http), count_cpu_s(pid)
    asked = [decide(http, model, image) for image in alone]
    time.sleep(1)  # the log's last line
    cpu_s = {name: spent - before[name] for name, spent in count_cpu_s(pid).items()}
    engine_s = read_engine_s(http) - engine_s
    ends = read_ends(log)
    decisions = [read_decision(http, ends[named], sent, here) for named, sent, here in asked]
    before, began = count_cpu_s(pid), time.monotonic()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(partial(decide, http, model), together))
    together_s = time.monotonic() - began
    crowd_cpu_s = {name: spent - before[name] for name, spent in count_cpu_s(pid).items()}
    return {
        "decisions": number,
        "samples": statistics.mean(one.samples for one in decisions),
        "ms": {
            name: 1000 * statistics.median(getattr(one, name) for one in decisions)
            for name in ("accept", "begin", "count", "tell", "total")
        },
        "engine_ms": 1000 * engine_s / number,
        "cpu_ms": {name: 1000 * spent / number for name, spent in cpu_s.items()},
        "together": {
            "clients": _CLIENTS,
            "decisions_per_s": number / together_s,
            "cpu_ms": {name: 1000 * spent / number for name, spent in crowd_cpu_s.items()},
        },
    }


def write_page(report: dict[str, Any]) -> str:
    """The page for people."""
    lines = [
        "# What one decision takes beside its samples",
        "",
        f"`python benchmarks/service/one_decision.py`, {report['date']}, {report['machine']}, "
        f"load average before it {report['load']}.",
        "",
        "“Is the radius at least half of sigma?” for images whose samples all vote alike, on an "
        "idle service. Medians in milliseconds; accept: HTTP, decoding, Redis; begin: queue, RQ "
        "worker, fork; count: engine, looks, votes, result; tell: until the client has the "
        "certificate. The engine's part of count is a mean. ViT-B/32: QuiltNet with random "
        "weights.",
        "",
        "| model | samples | POST to certificate | accept | begin | count | of it, engine | tell |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in report["models"].items():
        ms = found["ms"]
        figures = [ms["total"], ms["accept"], ms["begin"], ms["count"], found["engine_ms"]]
        cells = " | ".join(f"{one:.1f}" for one in [*figures, ms["tell"]])
        lines.append(f"| {name} | {found['samples']:.0f} | {cells} |")
    lines += [
        "",
        "CPU milliseconds a decision, one client at a time, and in brackets of "
        f"{_CLIENTS} clients at a time.",
        "",
        "| model | decisions a second | " + " | ".join(_KINDS) + " | all but the engine |",
        "|---|---|" + "---|" * (len(_KINDS) + 1),
    ]
    for name, found in report["models"].items():
        alone, together = found["cpu_ms"], found["together"]["cpu_ms"]
        cells = [f"{alone[kind]:.0f} ({together[kind]:.0f})" for kind in _KINDS]
        rest = [sum(spent.values()) - spent["engine"] for spent in (alone, together)]
        rate = f"({found['together']['decisions_per_s']:.1f})"
        lines.append(f"| {name} | {rate} | {' | '.join(cells)} | {rest[0]:.0f} ({rest[1]:.0f}) |")
    return "\n".join([*lines, ""])


def main(
    decisions: Annotated[int, typer.Option(help="Of each model, each way.")] = 40,
    port: Annotated[int, typer.Option(help="Of the service.")] = 8641,
) -> None:
    """Measures both models."""
    report: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "models": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        add_vit(models)
        for name, model in (("bundled", "bundled-2"), ("ViT-B/32", "quiltnet-b32")):
            place = Path(folder) / model
            place.mkdir()
            with run_service(place, models, model, port) as (http, pid):
                log = place / "service.log"
                report["models"][name] = measure(http, pid, log, model, decisions)
    page = write_page(report)
    (RESULTS / "one-decision.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "one-decision.md").write_text(page)
    sys.stdout.write(page)


if __name__ == "__main__":
    typer.run(main)
