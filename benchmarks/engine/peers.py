"""How fast other programs for randomized smoothing decide beside this engine, on a CPU.

    make bench-peers PAPER_CODE=../promptsmooth SMOOTHING_CODE=../smoothing

The peers are the class `Smooth` of the published PromptSmooth code and that of
github.com/locuslab/smoothing, from folders that the user names, and `PyTorchRandomizedSmoothing` of
the Adversarial Robustness Toolbox. Each gets the same model with its libraries' own layers, the
same image and noise level, the same samples and the same batch. All ways take turns, round after
round. A peer whose folder is not named is left out. Results of models and processors that are not
run again stay.

Both classes are written for CUDA. Their source is read, and "cuda" becomes "cpu" in it before it is
compiled. PromptSmooth's model computes the texts again for every batch, as published; the others
get them once. Its autocast does nothing on a CPU, so all peers compute in fp32.
"""

import ast
import hashlib
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from worker.processes.scheduling import wait_passively

wait_passively()

import numpy as np  # noqa: E402  # OpenMP reads its setting once
import torch  # noqa: E402
import typer  # noqa: E402
from cpu_runtimes import (  # noqa: E402
    CPU,
    DATA,
    RESULTS,
    create_vlms,
    describe_machine,
    find_ratio,
    measure,
    name_processor,
)
from random_vlm import SHAPES, create_vlm  # noqa: E402
from throughput import N0, SIGMA, create_image, run_engine  # noqa: E402

from models.catalogue.texts import create_text  # noqa: E402
from models.vlm.vlm import VLM, NormalisedTower  # noqa: E402
from worker.contract.image import Image  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.runner.machine import set_threads  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402

RUNS = {"bundled-2": (64, 2048), "plip": (16, 256)}  # the batch, and samples of a decision
ALPHA = 0.001
PUBLISHED, LOCUSLAB = "PromptSmooth's Smooth", "locuslab's Smooth"
ART = "ART's PyTorchRandomizedSmoothing"
Decide = Callable[[], int]  # the class, or -1 for an abstention


class BaseModel(torch.nn.Module):
    """What a peer smooths: normalised pixels, or pixels in [0, 1], to logits."""

    def __init__(self, vlm: NormalisedTower, *, normalised: bool, texts_once: bool) -> None:
        super().__init__()
        self._vlm, self._normalised = vlm, normalised
        card = vlm.card
        self._texts = [create_text(card.template, name) for name in card.class_names]
        self._text_features = vlm.encode_texts(self._texts) if texts_once else None
        self._mean = torch.tensor(card.preprocessing.mean)[:, None, None]
        self._std = torch.tensor(card.preprocessing.std)[:, None, None]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self._normalised:
            pixels = (pixels - self._mean) / self._std
        texts = self._text_features
        if texts is None:
            texts = self._vlm.encode_texts(self._texts)
        return self._vlm.logit_scale * self._vlm.encode_normalised(pixels) @ texts.T


class _OnCpu(ast.NodeTransformer):
    """Makes code for CUDA run on a CPU: tensor.cuda() is the tensor, and "cuda" is "cpu"."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            return node.func.value
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.copy_location(ast.Constant("cpu"), node) if node.value == "cuda" else node


def load_smooth(file: Path, names: set[str], **known: object) -> dict[str, Any]:
    """Functions and classes of a program's source, without running the program.

    Args:
        file: the source.
        names: what is wanted of it.
        known: further names that they use.
    """
    from scipy.stats import norm
    from statsmodels.stats.proportion import proportion_confint

    parsed = ast.parse(file.read_text())
    wanted = (ast.FunctionDef, ast.ClassDef)
    parsed.body = [one for one in parsed.body if isinstance(one, wanted) and one.name in names]
    code = compile(ast.fix_missing_locations(_OnCpu().visit(parsed)), str(file), "exec")
    found: dict[str, Any] = {"torch": torch, "np": np, "ceil": math.ceil, "norm": norm}
    found |= {"proportion_confint": proportion_confint, **known}
    exec(code, found)  # noqa: S102  # the user named the folder
    return found


def create_published(vlm: NormalisedTower, image: Image, file: Path, n: int, rows: int) -> Decide:
    """The published PromptSmooth loop. Its image is normalised first."""
    model = BaseModel(vlm, normalised=True, texts_once=False)
    helpers = {"_normalize_batch", "_denormalize_batch"}
    found = load_smooth(file, {"Smooth", *helpers}, model=model)
    preprocessing = vlm.card.preprocessing
    for name in helpers:
        found[name].__defaults__ = (preprocessing.mean, preprocessing.std)
    pixels = found["_normalize_batch"](torch.from_numpy(image)[None] / 255)
    smooth = found["Smooth"](model, len(vlm.card.class_names), SIGMA)
    return lambda: int(smooth.certify(pixels, N0, n, ALPHA, rows)[0])


def create_locuslab(vlm: NormalisedTower, image: Image, file: Path, n: int, rows: int) -> Decide:
    """The loop of Cohen, Rosenfeld and Kolter."""
    model = BaseModel(vlm, normalised=False, texts_once=True)
    smooth = load_smooth(file, {"Smooth"})["Smooth"](model, len(vlm.card.class_names), SIGMA)
    pixels = torch.from_numpy(image) / 255
    return lambda: int(smooth.certify(pixels, N0, n, ALPHA, rows)[0])


def create_art(vlm: NormalisedTower, image: Image, n: int, rows: int) -> Decide:
    """ART's class, which draws all noise of a decision before it computes."""
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    smooth = PyTorchRandomizedSmoothing(
        model=BaseModel(vlm, normalised=False, texts_once=True),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=image.shape,
        nb_classes=len(vlm.card.class_names),
        device_type="cpu",
        sample_size=N0,
        scale=SIGMA,
        alpha=ALPHA,
    )
    pixels = (image / 255).astype(np.float32)[None]
    return lambda: int(smooth.certify(pixels, n=n, batch_size=rows)[0][0])


def create_engine(vlm: VLM, image: Image, samples: int) -> Decide:
    """This engine, from request to certificate by `cohen`. No two calls have the same noise."""
    engine, seeds = Engine(Shelf.holding([vlm])), iter(range(1, 10**9))

    def decide() -> int:
        found = run_engine(engine, vlm, image, samples, next(seeds)).certificates[0]
        return vlm.card.class_names.index(found.prediction) if found.outcome == "certified" else -1

    return decide


def create_ways(name: str, data: Path, files: dict[str, Path]) -> dict[str, Decide]:
    """What takes turns."""
    rows, samples = RUNS[name]
    vlms = create_vlms(name, rows, data)
    plain = create_vlm(vlms["torch fp32"].card, CPU, plain=True)
    assert isinstance(plain, NormalisedTower)
    image, n = create_image(plain.card.preprocessing.size), samples - N0
    ways = {}
    if PUBLISHED in files:
        ways[PUBLISHED] = create_published(plain, image, files[PUBLISHED], n, rows)
    if LOCUSLAB in files:
        ways[LOCUSLAB] = create_locuslab(plain, image, files[LOCUSLAB], n, rows)
    ways[ART] = create_art(plain, image, n, rows)
    engines = {f"engine, {label}": vlm for label, vlm in vlms.items()}
    return ways | {label: create_engine(vlm, image, samples) for label, vlm in engines.items()}


def take_turns(ways: dict[str, Decide], samples: int, rounds: int) -> dict[str, dict[str, Any]]:
    """For each way, its speed, beside that of each peer, and the classes that it answered."""
    clock: dict[str, list[float]] = {label: [] for label in ways}
    cpu: dict[str, list[float]] = {label: [] for label in ways}
    answers: dict[str, set[int]] = {label: {decide()} for label, decide in ways.items()}  # warm-up
    for _ in range(rounds):
        for label, decide in ways.items():
            wall_s, cpu_s = measure(lambda d=decide, found=answers[label]: found.add(d()))
            clock[label].append(wall_s)
            cpu[label].append(cpu_s)
    _require_one_answer(answers)
    peers = [label for label in ways if not label.startswith("engine")]
    return {
        label: {
            "samples_per_s": samples / median(clock[label]),
            "decision_s": median(clock[label]),
            "cpu_ms_per_sample": 1000 * median(cpu[label]) / samples,
            "times": {one: find_ratio(clock[one], clock[label]) for one in peers},
            "times_by_cpu": {one: find_ratio(cpu[one], cpu[label]) for one in peers},
            "answers": sorted(answers[label]),
        }
        for label in ways
    }


def _require_one_answer(answers: dict[str, set[int]]) -> None:
    """Whoever does not abstain must answer the same class, or they do not compute the same."""
    classes = set().union(*answers.values()) - {-1}
    if len(classes) > 1:
        raise RuntimeError(f"the ways answer different classes: {answers}")


def write(results: dict[str, Any], folder: Path) -> None:
    """Writes the results as JSON and as tables."""
    (folder / "peers.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "# Other programs for randomized smoothing beside the engine on a CPU",
        "",
        "```sh",
        "make bench-peers PAPER_CODE=../promptsmooth SMOOTHING_CODE=../smoothing",
        "```",
        "",
        "Each way decided the same image at σ = 0.25 by the same model from the same number of",
        "samples (100 of them choose the class), in batches of the same size. All ways took turns,",
        "round after round. Ratios are medians of the rounds' ratios, by the clock and by CPU",
        "time. Others used the machine meanwhile: CPU time is the figure that this moves least.",
        "The peers compute in fp32, with their libraries' own layers. PromptSmooth's code encodes",
        "the texts again for every batch; the others encode them once.",
    ]
    for title, found in results.items():
        lines += ["", f"## {title}", "", found["machine"], "", *_format_table(found["ways"])]
    (folder / "peers.md").write_text("\n".join(lines) + "\n")


def _format_table(ways: dict[str, Any]) -> list[str]:
    peers = list(next(iter(ways.values()))["times"])
    head = ["", "samples/s", "s a decision", "CPU ms a sample", *(f"times {one}" for one in peers)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for label, one in ways.items():
        cells = [label, f"{one['samples_per_s']:.1f}", f"{one['decision_s']:.3g}"]
        cells += [f"{one['cpu_ms_per_sample']:.3g}"]
        cells += [f"{one['times'][p]:.2f}, CPU {one['times_by_cpu'][p]:.2f}" for p in peers]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def find_files(promptsmooth: Path | None, smoothing: Path | None) -> dict[str, Path]:
    """The sources of the peers whose folders are named; the others are said to be left out."""
    named = {
        PUBLISHED: (promptsmooth, "certify_promptsmooth_plip.py", "PAPER_CODE"),
        LOCUSLAB: (smoothing, "code/core.py", "SMOOTHING_CODE"),
    }
    for label, (folder, file, variable) in named.items():
        if folder is None:
            typer.echo(f"{label} is left out: name its folder, {variable}=")
        elif not (folder / file).is_file():
            raise typer.BadParameter(f"{folder} holds no {file}; {variable}= names the folder")
    return {label: folder / file for label, (folder, file, _) in named.items() if folder}


def main(
    promptsmooth: Annotated[Path | None, typer.Option(help="PromptSmooth's code.")] = None,
    smoothing: Annotated[Path | None, typer.Option(help="locuslab/smoothing's code.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Repeatable; default: all.")] = None,
    rounds: Annotated[int, typer.Option(min=3)] = 3,
    data: Annotated[Path, typer.Option(help="Dataset of the ranges of int8.")] = DATA,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Measures, and writes peers.json and peers.md."""
    from art import __version__ as art_version

    warnings.filterwarnings("ignore", message=".*autocast.*")
    set_threads(0)
    files = find_files(promptsmooth, smoothing)
    sources = [
        f"{label} from a file with SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}…"
        for label, file in files.items()
    ]
    peers = "; ".join([*sources, f"ART {art_version}"])
    file = out / "peers.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in model or RUNS:
        rows, samples = RUNS[name]
        ways = take_turns(create_ways(name, data, files), samples, rounds)
        title = f"{SHAPES[name]}, batch {rows}, {samples} samples a decision, {name_processor()}"
        machine = f"{describe_machine()}; {rounds} rounds. {peers}."
        results[title] = {"machine": machine, "ways": ways}
        write(results, out)


if __name__ == "__main__":
    typer.run(main)
