"""Eight jobs of very different size on one engine at once, compared with each of them alone.

    python benchmarks/engine/mixed_jobs.py

The jobs have n from 64 to 20,000 and three label sets, on the bundled model. `cohen` certifies each
from request to certificate, over one engine that several threads share. "Alone" is the engine's
time for as many samples in one certification. Mix and "alone" take turns, so that other load on the
machine affects both. The counts must equal those of each job alone. Writes mixed-jobs.json and .md.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from worker.processes.scheduling import wait_passively

wait_passively()

import numpy as np  # noqa: E402  # OpenMP reads its setting once
import typer  # noqa: E402
from random_vlm import create_card, create_vlm  # noqa: E402
from throughput import describe_machine  # noqa: E402

from models.catalogue.cards import ModelCard  # noqa: E402
from worker.contract import (  # noqa: E402
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
)
from worker.contract.certificate.document import FinishedResult  # noqa: E402
from worker.contract.image import Image, image_sha256  # noqa: E402
from worker.counting.certify import certify  # noqa: E402
from worker.counting.counter import Counter  # noqa: E402
from worker.counting.records.protocol import Unrecorded  # noqa: E402
from worker.counting.roll import Roll  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.local import LocalCounter  # noqa: E402
from worker.engine.runner.machine import choose_device, set_threads  # noqa: E402
from worker.engine.shared import SharedEngine  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402

SIZES = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 64)
LABELS = (
    ("abdominal CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT"),
    ("normal", "pneumonia"),
    ("a red blood cell", "a white blood cell", "a platelet"),
)
SECRET = b"no secret: a benchmark"
RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds of the mix, of as many samples alone, and of each job from its submission."""

    mixed_s: float
    alone_s: float
    jobs_s: list[float]


def create_job(card: ModelCard, n: int, place: int) -> tuple[CertifyRequest, Image]:
    """A job of n samples in all; the label sets take turns."""
    size = card.preprocessing.size
    image = np.random.default_rng(place).integers(0, 256, (3, size, size)).astype(np.uint8)
    target = TemplateTarget(template="A {} image.", class_names=LABELS[place % len(LABELS)])
    n0 = min(100, n // 2)
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="random"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(target,),
        sigmas=(Decimal("0.25"),),
        procedure=CohenParameters(n0=n0, n=n - n0),
    )
    return request, image


def run(counter: Counter, job: tuple[CertifyRequest, Image]) -> FinishedResult:
    """Runs one job from request to certificate."""
    request, image = job
    return certify(Roll(request, SECRET), image, counter=counter, records=Unrecorded())


def run_mixed(
    engine: Engine, jobs: list[tuple[CertifyRequest, Image]]
) -> tuple[float, list[float], list[FinishedResult]]:
    """Runs all jobs at once, largest first; seconds of all and of each, and the results."""
    with SharedEngine(engine) as shared, ThreadPoolExecutor(len(jobs)) as pool:
        began = time.perf_counter()

        def run_one(job: tuple[CertifyRequest, Image]) -> tuple[float, FinishedResult]:
            submitted = time.perf_counter()
            with shared.create_counter() as counter:
                result = run(counter, job)
            return time.perf_counter() - submitted, result

        ended = list(pool.map(run_one, jobs))
        return time.perf_counter() - began, [s for s, _ in ended], [r for _, r in ended]


def measure(engine: Engine, card: ModelCard, sizes: list[int], rounds: int) -> list[Round]:
    """Runs the mix and as many samples alone, in turns.

    Raises:
        AssertionError: a count differs.
    """
    jobs = [create_job(card, n, place) for place, n in enumerate(sizes)]
    whole = create_job(card, sum(sizes), len(sizes))
    run(LocalCounter(engine), create_job(card, 64, 0))
    alone = [run(LocalCounter(engine), job) for job in jobs]
    found = []
    for _ in range(rounds):
        mixed_s, jobs_s, results = run_mixed(engine, jobs)
        for result, expected in zip(results, alone, strict=True):
            if result != expected:
                raise AssertionError("a certificate depends on the company it was counted in")
        began = time.perf_counter()
        run(LocalCounter(engine), whole)
        found.append(Round(mixed_s=mixed_s, alone_s=time.perf_counter() - began, jobs_s=jobs_s))
    return found


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    machine, rounds = report["machine"], report["rounds"]
    ratios = [one["mixed_s"] / one["alone_s"] for one in rounds]
    lines = [
        "# Eight mixed jobs on one engine",
        "",
        f"`{report['command']}`, bundled model, `cohen`, three label sets, {machine['device']}, "
        f"{machine['threads']} threads, torch {machine['torch']}, on a machine that "
        "others used too.",
        "Every certificate was the one of its job alone, byte for byte.",
        "",
        f"Time of the mix over that of as many samples in one job: {median(ratios):.3f} "
        f"(median of {len(rounds)} rounds, {min(ratios):.3f} to {max(ratios):.3f}).",
        "",
        "| samples | seconds from submission to certificate (median) |",
        "|---|---|",
    ]
    for place, n in enumerate(report["sizes"]):
        lines.append(f"| {n:,} | {median(one['jobs_s'][place] for one in rounds):.2f} |")
    total = median(one["mixed_s"] for one in rounds)
    lines.append(f"| all {sum(report['sizes']):,} | {total:.2f} |")
    return "\n".join(lines) + "\n"


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[int, typer.Option(min=1, help="Divides every n but the smallest.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: one for each core.")] = 0,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Runs eight mixed jobs at once, and as many samples alone."""
    set_threads(threads)
    device = choose_device("auto")
    card = create_card("bundled-2", rows=None, precision=None)
    engine = Engine(Shelf.holding([create_vlm(card, device)]))
    sizes = [max(64, n // scale) for n in SIZES]
    found = measure(engine, card, sizes, rounds)
    report = {
        "command": f"python benchmarks/engine/mixed_jobs.py --rounds {rounds} --scale {scale}",
        "machine": describe_machine(device),
        "sizes": sizes,
        "rounds": [asdict(one) for one in found],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mixed-jobs.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(report)
    (folder / "mixed-jobs.md").write_text(page, encoding="utf-8")
    typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
