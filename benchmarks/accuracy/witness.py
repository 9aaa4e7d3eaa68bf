"""Certified radii beside the smallest changes that an attack finds, on real test images.

    python benchmarks/accuracy/witness.py --data DIR --work DIR --images 100
    python benchmarks/accuracy/witness.py --data DIR --work DIR --images 100 --table

The law: no attack inside a certified radius changes the smoothed vote. Each image is certified by
the bundled model under its own template, at three noise levels, and then attacked with and without
smoothing. Results are kept in the work folder, a line per image. The same command goes on from them
after an interruption, and takes further images when `--images` is larger. A line that was cut, and
lines of another model, are measured again. `--table` writes the page from the lines there are.

DIR of --data holds a folder per set, with test/CLASS/FILE and a card.json. The images are the first
of each class, the classes in turn. The program exits with 1 if the law is broken.
"""

import json
import platform
import statistics
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models.bundled.image_sets import load_image_set
from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.loading.loading import load_vlm
from worker.attack.witness import find_witness
from worker.contract import (
    CertifyRequest,
    InputImage,
    ModelRef,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.image import Image, image_sha256
from worker.contract.witness import CertificateWitness, WitnessSettings
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.shelf import Shelf

MODEL = "bundled-2"
SETS = ("mednist", "bccd_cells", "kermany_cxr")
SIGMAS = ("0.1", "0.25", "0.5")
SECRET = b"benchmark of witnesses, published"  # fixed, so that the run can be repeated
RESULTS = Path(__file__).parent.parent / "results"


def list_images(
    data: Path, card: ModelCard, count: int
) -> Iterator[tuple[str, TemplateTarget, Image]]:
    """Names, question and pixels of the first images of each class of each set, in turn."""
    sets = [load_image_set(data / name, "test", card.preprocessing) for name in SETS]
    found: list[tuple[int, str, TemplateTarget, Image]] = []
    for one in sets:
        target = TemplateTarget(template=one.template, class_names=one.class_names)
        seen: dict[int, int] = {}
        for pixels, class_index in zip(one.pixels, one.classes.tolist(), strict=True):
            turn = seen[class_index] = seen.get(class_index, 0) + 1
            found.append((turn, f"{one.name} {class_index} {turn}", target, pixels))
    for _, name, target, pixels in sorted(found, key=lambda each: each[:2])[:count]:
        yield name, target, pixels


def measure(
    prober: LocalCounter,
    card: ModelCard,
    target: TemplateTarget,
    pixels: Image,
    *,
    n_max: int,
    settings: WitnessSettings,
) -> dict[str, Any]:
    """The witness of one image, certified at all noise levels, as JSON."""
    request = CertifyRequest(
        input=InputImage(
            sha256=image_sha256(pixels),
            height=pixels.shape[1],
            width=pixels.shape[2],
            source="png",
        ),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(target,),
        sigmas=tuple(map(Decimal, SIGMAS)),
        procedure=StagedParameters(n_max=n_max),
    )
    roll = Roll(request, SECRET)
    result = certify(roll, pixels, counter=prober, records=Unrecorded())
    found = find_witness(
        result, pixels, roll, prober=prober, find_prompt=lambda _: None, settings=settings
    )
    return found.witness.model_dump(mode="json")


def format_page(
    rows: list[CertificateWitness], images: int, *, n_max: int, settings: dict[str, Any]
) -> Iterator[str]:
    """The page, from the witnesses of all images, with the command that measures it again."""
    yield "# Certified, and changed by an attack\n"
    yield (
        f"{images} test images of {', '.join(SETS)}, the bundled model, template prompts, "
        f"procedure `staged` with n_max = {n_max:,} and alpha = 0.001. The attack took "
        f"{settings['steps']} steps of {settings['copies']} noisy copies; "
        f"{settings['votes']:,} fresh votes show each change. {platform.machine()}, torch "
        f"{torch.__version__}. Distances are l2 in pixels scaled to [0, 1].\n"
    )
    alarms = sum(one.alarm for one in rows)
    yield (
        f"**Smoothed answers changed inside a certified radius: {alarms}** of "
        f"{sum(one.radius is not None for one in rows)} certificates.\n"
    )
    yield (
        "| σ | certified | median R | smoothed changed | median R_attack | smallest "
        "R_attack / R | median R_attack / R | undefended changed | median | inside R |"
    )
    yield "|---" * 10 + "|"
    for sigma in SIGMAS:
        yield _format_row(sigma, [one for one in rows if one.sigma == Decimal(sigma)])
    yield (
        "\nR is the certified radius, R_attack the distance of the smallest change found that "
        "changes the smoothed answer. A search gives an upper bound of the distance to the nearest "
        "such image, and a certificate a lower bound: the truth lies between. *Undefended* is the "
        "same model under the same prompt without noise; its column *inside R* counts the "
        "certified images whose undefended answer changed at R or nearer. Certificates with "
        "radius 0 and abstentions are in no ratio.\n\nThis command measures it again:\n"
    )
    yield (
        f"    python benchmarks/accuracy/witness.py --data DIR --work DIR --images {images} "
        f"--steps {settings['steps']} --copies {settings['copies']} --votes {settings['votes']} "
        f"--n-max {n_max}"
    )


def _format_row(sigma: str, rows: list[CertificateWitness]) -> str:
    certified = [one for one in rows if one.radius]
    smoothed = [one for one in certified if one.smoothed.outcome == "changed"]
    ratios = [float(one.smoothed.distance) / float(one.radius) for one in smoothed]
    plain = [one for one in rows if one.undefended.outcome == "changed"]
    inside = [one for one in plain if one.radius and one.undefended.distance <= one.radius]
    return (
        f"| {sigma} | {len(certified)} of {len(rows)} | {_median(one.radius for one in certified)} "
        f"| {len(smoothed)} | {_median(one.smoothed.distance for one in smoothed)} "
        f"| {min(ratios, default=float('nan')):.2f} | {_median(ratios)} "
        f"| {len(plain)} | {_median(one.undefended.distance for one in plain)} "
        f"| {len(inside)} of {len(certified)} |"
    )


def _median(values: Any) -> str:
    found = sorted(map(float, values))
    return f"{statistics.median(found):.2f}" if found else "none"


def main(
    data: Annotated[Path, typer.Option(help="The folder of the sets.")],
    work: Annotated[Path, typer.Option(help="The folder that keeps the lines.")],
    images: Annotated[int, typer.Option(help="Images in all.")] = 100,
    steps: Annotated[int, typer.Option(help="Steps of each descent.")] = 40,
    copies: Annotated[int, typer.Option(help="Noisy copies of each step.")] = 16,
    votes: Annotated[int, typer.Option(help="Votes that show a change.")] = 1000,
    n_max: Annotated[int, typer.Option(help="The most samples of a certificate.")] = 1000,
    table: Annotated[bool, typer.Option(help="Write the page from what there is.")] = False,
) -> None:
    """Runs the benchmark, or writes its page."""
    settings = WitnessSettings(steps=steps, copies=copies, votes=votes)
    path = work / f"witness-{steps}-{copies}-{votes}-{n_max}.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    card = load_catalogue(None).get(MODEL)
    if not table:
        _run(data, path, card, images, n_max, settings)
    done = read_lines(path, card)
    rows = [
        CertificateWitness.model_validate(row) for one in done for row in one["result"]["witnesses"]
    ]
    lines = format_page(rows, len(done), n_max=n_max, settings=settings.model_dump())
    (RESULTS / "witness.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    raise typer.Exit(1 if any(one.alarm for one in rows) else 0)


def read_lines(path: Path, card: ModelCard) -> list[dict[str, Any]]:
    """The images of this model that have been measured, each with its result."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for line in lines:
        with suppress(ValueError):  # cut off when the run was killed
            found.append(json.loads(line))
    return [one for one in found if one["model"] == card.sha256]


def _run(
    data: Path, path: Path, card: ModelCard, images: int, n_max: int, settings: WitnessSettings
) -> None:
    done = {one["name"] for one in read_lines(path, card)}
    vlm = load_vlm(card, load_catalogue(None).folder(MODEL), torch.device("cpu"))
    prober = LocalCounter(Engine(Shelf.holding([vlm])))
    for name, target, pixels in list_images(data, card, images):
        if name in done:
            continue
        found = measure(prober, card, target, pixels, n_max=n_max, settings=settings)
        line = json.dumps({"name": name, "model": card.sha256, "result": found})
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # on a line of its own, also after one that was cut
        typer.echo(f"{name}: " + " ".join(one["smoothed"]["outcome"] for one in found["witnesses"]))


if __name__ == "__main__":
    typer.run(main)
