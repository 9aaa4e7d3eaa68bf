"""Certified accuracy of four promptings on real test images, under two models.

    python benchmarks/promptings.py --data ../shared/data --models DIR --work DIR

Compares template, few-shot, zero-shot and few-shot+zero-shot at four noise levels. One
`promptsmooth evaluate` runs per model and set, so that all promptings judge the same images with
the same noise. `promptsmooth learn` learns a few-shot prompt that does not ship, with its defaults,
from the set's train folder. Prompts and runs are kept in the work folder, so an interrupted
benchmark continues from them. The tables are written when every run is finished, and name the
command that made them.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from models.prompts.catalogue import SHIPPED
from worker.evaluation.results import Arm, EvaluationResults
from worker.evaluation.tables import format_markdown, format_share

PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
RESULTS = Path(__file__).with_name("results")
MODELS = ["bundled-clean", "bundled"]
SETS = ["mednist", "kermany_cxr", "lc25000_clean"]
PROMPTINGS = ("template", "few-shot", "zero-shot", "few-shot+zero-shot")
SIGMAS = ("0.1", "0.25", "0.5", "1.0")

_TITLE = """\
# Four promptings, certified

`bundled-clean` is the bundled architecture trained without noise, which is what PromptSmooth is
for; `bundled` is trained with noise and ships. Each set in its own classes and template.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one set, in a work folder."""

    model: str
    set_name: str
    data: Path
    work: Path

    @property
    def prompt_id(self) -> str:
        """The few-shot prompt of this model for this set."""
        return f"{self.model}-{self.set_name.replace('_', '-')}"

    @property
    def prompt(self) -> str:
        """The prompt as a command names it: by id if it ships, otherwise by its card."""
        ships = (SHIPPED / f"{self.prompt_id}.toml").is_file()
        return self.prompt_id if ships else str(self.work / "prompts" / f"{self.prompt_id}.toml")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.work / "runs" / f"{self.model}-{self.set_name}"

    def learn(self) -> list[str]:
        """The command that learns the prompt from training images."""
        return [
            *("learn", "--data", str(self.data / self.set_name), "--model", self.model),
            *("--id", self.prompt_id, "--out", str(self.work / "prompts")),
        ]

    def evaluate(self, images: int, n_max: int) -> list[str]:
        """The command that certifies the test images."""
        promptings = [word for name in PROMPTINGS for word in ("--prompting", name)]
        sigmas = [word for sigma in SIGMAS for word in ("--sigma", sigma)]
        return [
            *("evaluate", "--data", str(self.data / self.set_name), "--model", self.model),
            *promptings,
            *("--prompt", self.prompt, *sigmas),
            *("--images", str(images), "--n-max", str(n_max)),
            *("--out", str(self.folder), "--data-dir", str(self.work / "data")),
        ]

    def load(self) -> EvaluationResults:
        """The results of a finished run."""
        return EvaluationResults.model_validate_json((self.folder / "results.json").read_bytes())


def run(arguments: list[str], models: Path) -> None:
    """Runs a command of the service. If it fails, the benchmark ends with its status."""
    typer.echo(f"promptsmooth {shlex.join(arguments)}", err=True)
    environment = os.environ | {"PROMPTSMOOTH_MODELS": str(models)}
    done = subprocess.run([PROMPTSMOOTH, *arguments], env=environment, check=False)  # noqa: S603
    if done.returncode:
        raise typer.Exit(done.returncode)


def create_overview(results: list[EvaluationResults]) -> Iterator[str]:
    """Accuracy of the smoothed classifier (r = 0) by prompting, a row per model, set and sigma."""
    yield "| model | set | σ | " + " | ".join(PROMPTINGS) + " |"
    yield "| --- " * (3 + len(PROMPTINGS)) + "|"
    for result in results:
        for sigma in result.question.sigmas:
            arms = [arm for arm in result.arms if arm.sigma == sigma]
            cells = [_at_zero(arms, prompting) for prompting in PROMPTINGS]
            head = [result.question.identity.model.id, result.question.dataset, f"{sigma:f}"]
            yield f"| {' | '.join(head + cells)} |"


def _at_zero(arms: list[Arm], prompting: str) -> str:
    (arm,) = (arm for arm in arms if arm.target.prompting == prompting)
    return format_share(arm.at_radius[0].accuracy)


def write(results: list[EvaluationResults], command: str) -> None:
    """Writes results/promptings.md and .json."""
    parts = [
        _TITLE,
        f"Made by `{command}`; figures and digests in `promptings.json`.\n",
        "## Smoothed accuracy (r = 0), with 95 % intervals over images\n",
        *create_overview(results),
        "",
        *(format_markdown(result, heading="##") for result in results),
    ]
    (RESULTS / "promptings.md").write_text("\n".join(parts), encoding="utf-8")
    document: dict[str, Any] = {
        "command": command,
        "runs": [result.model_dump(mode="json") for result in results],
    }
    (RESULTS / "promptings.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the sets.")],
    models: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with bundled-clean in it.")
    ],
    work: Annotated[Path, typer.Option(help="Folder for learned prompts and runs.")],
    images: Annotated[int, typer.Option(min=1, help="Images a set.")] = 60,
    n_max: Annotated[int, typer.Option(min=1, help="Most samples a noise level.")] = 1000,
    model: Annotated[list[str] | None, typer.Option(help="Repeatable.  (default: both)")] = None,
    image_set: Annotated[list[str] | None, typer.Option(help="Repeatable.  (default: all)")] = None,
) -> None:
    """Learns what is missing, certifies what is missing, and writes the tables."""
    cells = [
        Cell(model=m, set_name=s, data=data, work=work)
        for m in model or MODELS
        for s in image_set or SETS
    ]
    for cell in cells:
        if cell.prompt.endswith(".toml") and not Path(cell.prompt).is_file():
            run(cell.learn(), models)
        run(cell.evaluate(images, n_max), models)
    arguments = f"--data {data} --models DIR --work DIR --images {images} --n-max {n_max}"
    write([cell.load() for cell in cells], f"python benchmarks/promptings.py {arguments}")


if __name__ == "__main__":
    typer.run(main)
