"""Seconds that `staged` and `cohen` take for "is the radius at least 0.5 sigma?", on test images.

    python benchmarks/engine/decisions.py

`staged` certifies 100 test images from the bundled model's three sets, from request to certificate,
with that target and n_max = 10,000. In the same run `cohen` certifies every twentieth of them with
n = 10,000; its time does not depend on the image. Writes decisions.json and .md.
"""

import json
import os
import time
from decimal import Decimal
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

from staged_votes import Sample, choose_images

from worker.processes.scheduling import wait_passively

wait_passively()

import typer  # noqa: E402  # OpenMP reads its setting once
from random_vlm import create_card, create_vlm  # noqa: E402
from throughput import describe_machine  # noqa: E402

from models.catalogue.cards import ModelCard  # noqa: E402
from worker.contract import (  # noqa: E402
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    Procedure,
    StagedParameters,
)
from worker.contract.certificate.document import FinishedResult  # noqa: E402
from worker.contract.image import image_sha256  # noqa: E402
from worker.counting.certify import certify  # noqa: E402
from worker.counting.records.protocol import Unrecorded  # noqa: E402
from worker.counting.roll import Roll  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.local import LocalCounter  # noqa: E402
from worker.engine.runner.machine import choose_device, set_threads  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results"
SIGMA, TARGET = Decimal("0.25"), Decimal("0.125")
STAGED, COHEN = StagedParameters(target_radius=TARGET), CohenParameters()
EVERY = 20
DATA = Path(os.environ.get("PROMPTSMOOTH_DATA", "../shared/data"))


def decide(
    counter: LocalCounter, card: ModelCard, sample: Sample, procedure: Procedure
) -> tuple[float, int, bool]:
    """Seconds, samples, and whether the radius is at least the target."""
    _, height, width = sample.image.shape
    request = CertifyRequest(
        input=InputImage(
            sha256=image_sha256(sample.image), height=height, width=width, source="test folder"
        ),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(sample.target,),
        sigmas=(SIGMA,),
        procedure=procedure,
    )
    began = time.perf_counter()
    result: FinishedResult = certify(
        Roll(request, b"no secret: a benchmark"),
        sample.image,
        counter=counter,
        records=Unrecorded(),
    )
    seconds = time.perf_counter() - began
    (one,) = result.certificates
    yes = one.outcome == "certified" and Decimal(str(one.radius)) >= TARGET
    return seconds, one.n_used, yes


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    machine, staged, cohen = report["machine"], report["staged"], report["cohen"]
    times = fmean(cohen["seconds"]) / fmean(staged["seconds"])
    lines = [
        "# Seconds for one decision",
        "",
        f"`{report['command']}`: “is the radius at least 0.5σ?”, σ = {SIGMA}, bundled model, "
        f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}. `cohen` on "
        f"every {EVERY}th image.",
        "",
        "| procedure | images | mean samples | mean seconds | median seconds | yes |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in (("`staged`", staged), ("`cohen`, n = 10,000", cohen)):
        seconds = one["seconds"]
        lines.append(
            f"| {name} | {len(seconds)} | {fmean(one['samples']):,.0f} | {fmean(seconds):.3f} "
            f"| {median(seconds):.3f} | {sum(one['yes'])} |"
        )
    lines += ["", f"`staged` takes {times:.0f} times less time for a decision."]
    lines.append(f"Where both decided, they agreed on {report['agreed']} of {len(cohen['yes'])}.")
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[
        Path, typer.Option(help="Folder of the image sets.", show_default="../shared/data")
    ] = DATA,
    images: Annotated[int, typer.Option(min=1)] = 100,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: one for each core.")] = 0,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Times both procedures on real images."""
    set_threads(threads)
    device = choose_device("auto")
    card = create_card("bundled-2", rows=None, precision=None)
    counter = LocalCounter(Engine(Shelf.holding([create_vlm(card, device)])))
    samples = choose_images(data, card, images)
    decide(counter, card, samples[0], CohenParameters(n=200))  # warm
    staged, cohen, agreed = [], [], 0
    for place, sample in enumerate(samples):
        staged.append(decide(counter, card, sample, STAGED))
        if place % EVERY == 0:
            cohen.append(decide(counter, card, sample, COHEN))
            agreed += staged[-1][2] == cohen[-1][2]
    names = ("seconds", "samples", "yes")
    report = {
        "command": f"python benchmarks/engine/decisions.py --images {images}",
        "machine": describe_machine(device),
        "staged": dict(zip(names, map(list, zip(*staged, strict=True)), strict=True)),
        "cohen": dict(zip(names, map(list, zip(*cohen, strict=True)), strict=True)),
        "agreed": agreed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "decisions.json"
    path.write_text(json.dumps(report) + "\n", encoding="utf-8")
    page = as_markdown(report)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
