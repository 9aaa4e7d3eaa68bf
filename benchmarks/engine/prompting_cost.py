"""What additional promptings in one request cost, on the bundled model with cohen's full n.

    python benchmarks/engine/prompting_cost.py

Image features do not depend on the prompt, so promptings share one pass of the image encoder.
Requests with one prompting and with all of them are certified in turns, in this process, from
request to certificates, including tuning. The figures are medians of seconds, and of each round's
ratio.
"""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import typer

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.prompts.catalogue import load_prompt_catalogue
from worker.contract import (
    CertifyRequest,
    CohenParameters,
    FewShotTarget,
    FewShotZeroShotTarget,
    InputImage,
    ModelRef,
    PromptRef,
    Target,
    TemplateTarget,
    ZeroShotTarget,
)
from worker.contract.image import image_sha256
from worker.contract.prompt import EncodedPrompt
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.shelf.shelf import Shelf

PROMPT = "bundled-2-mednist"
RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A request's promptings, the seconds of each round, and their ratios to the first way's."""

    promptings: str
    seconds: list[float]
    ratios: list[float]


def create_ways() -> dict[str, tuple[Target, ...]]:
    """One prompting, two without tuning, and all four."""
    card = load_catalogue().get("bundled-2")
    prompt = load_prompt_catalogue().get(PROMPT).card
    ref = PromptRef(id=prompt.id, sha256=prompt.sha256, method=prompt.method)
    names = prompt.class_names
    template = TemplateTarget(template=card.template, class_names=names)
    few_shot = FewShotTarget(prompt=ref, class_names=names)
    tuned = (
        ZeroShotTarget(template=card.template, class_names=names),
        FewShotZeroShotTarget(prompt=ref, class_names=names),
    )
    return {
        "template": (template,),
        "template, few-shot": (template, few_shot),
        "template, few-shot, zero-shot, few-shot+zero-shot": (template, few_shot, *tuned),
    }


def certify_once(counter: LocalCounter, targets: tuple[Target, ...], seed: int, n: int) -> float:
    """Seconds from a request to its certificates."""
    card = load_catalogue().get("bundled-2")
    _, prompt = load_prompt_catalogue().get(PROMPT).load()
    size = card.preprocessing.size
    image = np.random.default_rng(seed).integers(0, 256, (3, size, size)).astype(np.uint8)
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="random"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=targets,
        sigmas=(Decimal("0.25"),),
        procedure=CohenParameters(n=n),
    )
    started = time.perf_counter()
    certify(
        Roll(request, b"no secret: a benchmark"),
        image,
        counter=counter,
        records=Unrecorded(prompts={prompt.sha256: EncodedPrompt.of(prompt)}),
    )
    return time.perf_counter() - started


def measure(rounds: int, n: int, threads: int) -> tuple[Way, ...]:
    """Times all ways in turns, `rounds` times."""
    set_threads(threads)
    catalogue = load_catalogue()
    vlm = load_vlm(catalogue.get("bundled-2"), catalogue.folder("bundled-2"), choose_device("cpu"))
    engine = Engine(Shelf.holding([vlm]))  # warms the model up
    counter, ways = LocalCounter(engine), create_ways()
    certify_once(counter, next(iter(ways.values())), 0, 200)  # compiles the noise
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, targets in ways.items():
            seconds[name].append(certify_once(counter, targets, number, n))
    base = next(iter(seconds.values()))
    return tuple(
        Way(
            promptings=name,
            seconds=took,
            ratios=[t / b for t, b in zip(took, base, strict=True)],
        )
        for name, took in seconds.items()
    )


def write_results(ways: tuple[Way, ...], rounds: int, n: int) -> None:
    """Writes the JSON with every round, and the table of medians."""
    machine = {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    fields = {"n": n, "machine": machine, "ways": [asdict(way) for way in ways]}
    (RESULTS / "prompting-cost.json").write_text(json.dumps(fields, indent=1) + "\n")
    lines = [
        "# What further promptings cost",
        "",
        f"`python benchmarks/engine/prompting_cost.py --rounds {rounds} --n {n}`, bundled model, "
        f"cohen with n = {n:,}, sigma 0.25, 6 classes, {machine['threads']} threads, torch "
        f"{machine['torch']}, on a machine that others used too.",
        "",
        "| promptings of one request | seconds (median) | ratio to one (median, range) |",
        "|---|---|---|",
    ]
    for way in ways:
        spread = f"{median(way.ratios):.2f} ({min(way.ratios):.2f} to {max(way.ratios):.2f})"
        lines.append(f"| {way.promptings} | {median(way.seconds):.2f} | {spread} |")
    (RESULTS / "prompting-cost.md").write_text("\n".join(lines) + "\n")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 7,
    n: Annotated[int, typer.Option(min=1, help="cohen's n.")] = 10_000,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
) -> None:
    """Times the ways and writes benchmarks/results/prompting-cost.{json,md}."""
    ways = measure(rounds, n, threads)
    write_results(ways, rounds, n)
    typer.echo((RESULTS / "prompting-cost.md").read_text())


if __name__ == "__main__":
    typer.run(main)
