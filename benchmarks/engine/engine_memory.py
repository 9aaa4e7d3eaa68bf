"""Does the memory of an engine process grow over thousands of jobs?

    python benchmarks/engine/engine_memory.py

A real engine process (`python -m worker.engine`) listens on a Unix socket. Clients open sessions as
work-horses do: each with a new image, a new label set and several noise levels; some close before
their votes arrive. Resident memory is read every hundred jobs. Growth compares the mean over the
last tenth with the mean over the second tenth, because the first tenth fills bounded caches. Writes
engine-memory.json and .md.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.installation.folder import format_model_card
from worker.contract import CertifyRequest, CohenParameters, InputImage, ModelRef, TemplateTarget
from worker.contract.image import Image, image_sha256
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.client import EngineClient

RESULTS = Path(__file__).parents[1] / "results"
SECRET = b"no secret: a benchmark"
MODEL, ROWS = "small-batches", 8
WORDS = ("lung", "heart", "liver", "kidney", "brain", "bone", "skin", "cell", "tumour", "vessel")


def create_job(card: ModelCard, number: int, samples: int) -> tuple[CertifyRequest, Image]:
    """A job that differs from all others."""
    size = card.preprocessing.size
    image = np.random.default_rng(number).integers(0, 256, (3, size, size)).astype(np.uint8)
    names = tuple(f"{word} {number}" for word in WORDS[: 2 + number % 5])
    sigmas = tuple(Decimal(10 + (number + i) % 90) / 100 for i in range(1 + number % 3))
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="random"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template="A {} image.", class_names=names),),
        sigmas=sigmas,
        procedure=CohenParameters(n0=2, n=samples - 2),
    )
    return request, image


def run_job(socket: Path, card: ModelCard, number: int, samples: int) -> None:
    """Runs a job as a work-horse does. One in ten leaves before its votes arrive."""
    request, image = create_job(card, number, samples)
    with EngineClient.connect(socket, wait_s=60) as client:
        if number % 10 == 9:
            keys = Roll(request, SECRET).keys
            client.open(create_session(request, {}, NOTHING_TUNED, keys), image)
            return
        certify(Roll(request, SECRET), image, counter=client, records=Unrecorded())


def write_card(models: Path) -> ModelCard:
    """The bundled model on a separate card with small batches: many jobs in little time."""
    catalogue = load_catalogue()
    rows = {"cpu": ROWS, "cuda": ROWS}
    card = catalogue.get("bundled-2").model_copy(update={"id": MODEL, "batch_size": rows})
    shutil.copytree(catalogue.folder("bundled-2"), models / MODEL)
    (models / MODEL / "card.toml").write_text(format_model_card(card), encoding="utf-8")
    return load_catalogue(models).get(MODEL)


def read_resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def measure(jobs: int, samples: int, every: int) -> list[tuple[int, int]]:
    """Pairs of jobs done and resident bytes."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "engine.sock"
        card = write_card(Path(folder) / "models")
        environment = os.environ | {
            "PROMPTSMOOTH_ENGINE_SOCKET": str(socket),
            "PROMPTSMOOTH_MODELS": str(Path(folder) / "models"),
            "PROMPTSMOOTH_SERVE_MODELS": f'["{MODEL}"]',
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        engine = subprocess.Popen([sys.executable, "-m", "worker.engine"], env=environment)
        try:
            found = []
            for number in range(1, jobs + 1):
                run_job(socket, card, number, samples)
                if number % every == 0:
                    found.append((number, read_resident(engine.pid)))
            return found
        finally:
            engine.terminate()
            engine.wait()


def find_growth(found: list[tuple[int, int]]) -> float:
    """The mean of the last tenth relative to that of the second tenth."""
    tenth = max(1, len(found) // 10)
    second = fmean(size for _, size in found[tenth : 2 * tenth])
    return fmean(size for _, size in found[-tenth:]) / second - 1


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Memory of an engine over many jobs",
        "",
        f"`{report['command']}`: {report['jobs']:,} jobs in {report['seconds']:.0f} s on a machine "
        "that others used too, each with an image and a label set of its own, one to three noise "
        f"levels, {report['samples']} samples each; one in ten left before its votes came. The "
        f"bundled model in batches of {ROWS}.",
        "",
        "Growth of resident memory, last tenth against second tenth: "
        f"{100 * report['growth']:.2f} %.",
        "",
        "| jobs | resident, MB |",
        "|---|---|",
    ]
    rows = report["resident"]
    step = max(1, len(rows) // 10)
    lines += [f"| {number:,} | {size / 1e6:.1f} |" for number, size in rows[step - 1 :: step]]
    return "\n".join(lines) + "\n"


def main(
    jobs: Annotated[int, typer.Option(min=20)] = 2000,
    samples: Annotated[int, typer.Option(min=3, help="Of each noise level.")] = 8,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Runs many jobs on one engine process and records its memory."""
    began = time.monotonic()
    resident = measure(jobs, samples, max(1, jobs // 100))
    report = {
        "command": f"python benchmarks/engine/engine_memory.py --jobs {jobs} --samples {samples}",
        "jobs": jobs,
        "samples": samples,
        "seconds": time.monotonic() - began,
        "growth": find_growth(resident),
        "resident": resident,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "engine-memory.json"
    path.write_text(json.dumps(report) + "\n", encoding="utf-8")
    page = as_markdown(report)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
