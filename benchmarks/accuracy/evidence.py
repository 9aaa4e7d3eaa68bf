"""Certified accuracy of four promptings and two baselines, on real test images under three models.

    make evidence                                     # all of it: hours on two cores
    python benchmarks/accuracy/evidence.py --data DIR --work DIR --images 20 --seed 1 --no-baselines

The first model is the one that ships. The others have its architecture and recipe, trained from
other seeds. One `promptsmooth evaluate` runs per model and set, so that all rows judge the same
images on the same noise. What is missing is trained and learned first, from the train folders
alone. Models, prompts and runs are kept in the work folder: an interrupted run goes on from them.
The tables keep what earlier commands judged of other models and sets in the same way.

DIR of --data holds a folder per set, with train/CLASS/FILE, test/CLASS/FILE and a card.json that
names classes and template. docs/promptings.md says where the sets come from.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from pool import FACTORS, format_pooled

from models.prompts.catalogue import SHIPPED
from worker.evaluation.results import Arm, EvaluationResults
from worker.evaluation.tables import format_markdown, format_share

HERE = Path(__file__).parent
PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
RESULTS = HERE.parent / "results"
MODEL = "bundled-2"
SETS = ["mednist", "bccd_cells", "kermany_cxr", "lc25000_clean"]
POOLED = [("mednist", "bccd_cells"), ("kermany_cxr",)]
LEARNED_FROM = ("mednist", "kermany_cxr", "bccd_cells")  # whose images the models were trained on
PROMPTINGS = ("template", "few-shot", "zero-shot", "few-shot+zero-shot")
BASELINES = ("denoised", "noise-trained")
SIGMAS = ("0.25", "0.5", "1")

_TITLE = """\
# What promptings certify

`{model}` is the model that ships, trained without noise. `{model}-seed-N` has the same recipe and
another seed. Each set in its own classes and template; prompts are learned from its train folder.
Figures and digests are in `promptings.json`. The commands, and what each of them judged:
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one set, in a work folder."""

    model: str
    set_name: str
    data: Path
    work: Path
    baselines: Sequence[str]

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
        return [
            *("evaluate", "--data", str(self.data / self.set_name), "--model", self.model),
            *(word for name in PROMPTINGS for word in ("--prompting", name)),
            *(word for name in self.baselines for word in ("--baseline", name)),
            *("--prompt", self.prompt),
            *(word for sigma in SIGMAS for word in ("--sigma", sigma)),
            *("--images", str(images), "--n-max", str(n_max)),
            *("--out", str(self.folder), "--data-dir", str(self.work / "data")),
        ]

    def load(self) -> EvaluationResults:
        """The results of a finished run."""
        return EvaluationResults.model_validate_json((self.folder / "results.json").read_bytes())


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is judged, and how: every model on every set."""

    data: Path
    work: Path
    images: int
    n_max: int
    seeds: Sequence[int]
    sets: Sequence[str]
    baselines: Sequence[str]

    @property
    def models(self) -> Path:
        """The folder of models that do not ship."""
        return self.work / "models"

    def list_cells(self) -> list[Cell]:
        """The models' runs, the model that ships first.

        Only it has baselines, on the sets whose images it learned from.
        """
        return [
            Cell(
                model=get_model_id(seed),
                set_name=name,
                data=self.data,
                work=self.work,
                baselines=self.baselines if seed == 1 and name in LEARNED_FROM else (),
            )
            for seed in self.seeds
            for name in self.sets
        ]

    def train(self) -> None:
        """Trains the models that are missing: the other seeds, and the baselines."""
        self.models.mkdir(parents=True, exist_ok=True)
        others = [word for seed in self.seeds if seed != 1 for word in ("--seed", str(seed))]
        if others:
            self._run_baselines("seeds", *others)
        for name in dict.fromkeys(one for cell in self.list_cells() for one in cell.baselines):
            self._run_baselines(name)

    def certify(self) -> None:
        """Learns the prompts that are missing, and finishes every run."""
        for cell in self.list_cells():
            if cell.prompt.endswith(".toml") and not Path(cell.prompt).is_file():
                self._run([str(PROMPTSMOOTH), *cell.learn()])
            self._run([str(PROMPTSMOOTH), *cell.evaluate(self.images, self.n_max)])

    def _run_baselines(self, command: str, *arguments: str) -> None:
        program = [sys.executable, str(HERE / "baselines.py"), command]
        fields = ["--data", str(self.data), "--models", str(self.models), "--model", MODEL]
        self._run([*program, *fields, *arguments])

    def _run(self, command: list[str]) -> None:
        """Runs a command. If it fails, the benchmark ends with its status."""
        typer.echo(shlex.join(command), err=True)
        environment = os.environ | {"PROMPTSMOOTH_MODELS": str(self.models)}
        done = subprocess.run(command, env=environment, check=False)  # noqa: S603
        if done.returncode:
            raise typer.Exit(done.returncode)


class Run(NamedTuple):
    """A finished run, and the command that made it."""

    command: str
    results: EvaluationResults

    @property
    def place(self) -> tuple[str, str]:
        """The model and the set."""
        return self.results.question.identity.model.id, self.results.question.dataset

    def fits(self, other: "Run") -> bool:
        """Whether both may stand in one table: asked alike, of the same weights and images."""
        (mine, theirs), (model, name) = (one.results.question for one in (self, other)), self.place
        asked = ("images", "seed", "sigmas", "procedure", "alpha")
        return (
            all(getattr(mine, field) == getattr(theirs, field) for field in asked)
            and (other.place[0] != model or mine.identity.model == theirs.identity.model)
            and (other.place[1] != name or mine.listing_sha256 == theirs.listing_sha256)
        )

    @property
    def order(self) -> tuple[str, int]:
        """Where its tables come: by model, the one that ships first, and as `SETS`."""
        model, name = self.place
        return model, SETS.index(name) if name in SETS else len(SETS)


def get_model_id(seed: int) -> str:
    """Seed 1 made the model that ships."""
    return MODEL if seed == 1 else f"{MODEL}-seed-{seed}"


def create_overview(results: Sequence[EvaluationResults]) -> Iterator[str]:
    """Accuracy of the smoothed classifier (r = 0) by prompting, a row per model, set and sigma."""
    yield "| model | set | σ | " + " | ".join(PROMPTINGS) + " |"
    yield "| --- " * (3 + len(PROMPTINGS)) + "|"
    for result in results:
        for sigma in result.question.sigmas:
            arms = [arm for arm in result.arms if arm.sigma == sigma]
            cells = [_at_zero(arms, prompting) for prompting in PROMPTINGS]
            head = [result.question.identity.model.id, result.question.dataset, f"{sigma:f}"]
            yield f"| {' | '.join(head + cells)} |"


def _at_zero(arms: Sequence[Arm], prompting: str) -> str:
    arm = next(arm for arm in arms if arm.label == prompting)
    return format_share(arm.at_radius[0].accuracy)


def create_pools(results: Sequence[EvaluationResults]) -> Iterator[str]:
    """What each row gains over the template, over several sets and models together."""
    sigmas, factors = [Decimal("0.5"), Decimal(1)], list(map(Decimal, FACTORS))
    for names in POOLED:
        chosen = [one for one in results if one.question.dataset in names]
        if {one.question.dataset for one in chosen} != set(names):
            continue
        models = dict.fromkeys(one.question.identity.model.id for one in chosen)
        yield f"### {' and '.join(names)}, σ 0.5 and 1, {', '.join(models)}\n"
        yield from format_pooled(chosen, sigmas, factors)
        yield ""


def find_earlier(judged: Sequence[Run]) -> list[Run]:
    """Runs of earlier commands that fit these, of other models and sets."""
    path = RESULTS / "promptings.json"
    kept = json.loads(path.read_bytes())["runs"] if path.is_file() else []
    earlier = [
        Run(one["command"], EvaluationResults.model_validate(one["results"])) for one in kept
    ]
    places = {run.place for run in judged}
    return [run for run in earlier if run.place not in places and all(map(run.fits, judged))]


def create_sources(runs: Sequence[Run]) -> Iterator[str]:
    """The commands that the runs were made by, one per line."""
    for command in dict.fromkeys(run.command for run in runs):
        places = [" on ".join(run.place) for run in runs if run.command == command]
        yield f"- `{command}`: {', '.join(places)}"


def write(runs: Sequence[Run]) -> None:
    """Writes results/promptings.md and .json."""
    results = [run.results for run in runs]
    parts = [
        _TITLE.format(model=MODEL),
        *create_sources(runs),
        "\n## Gain over the template, pooled\n",
        *create_pools(results),
        "## Smoothed accuracy (r = 0), with 95 % intervals over images\n",
        *create_overview(results),
        "",
        *(
            format_markdown(result, heading="##", written=datetime.now(UTC).date())
            for result in results
        ),
    ]
    (RESULTS / "promptings.md").write_text("\n".join(parts), encoding="utf-8")
    document: dict[str, Any] = {
        "runs": [
            {"command": run.command, "results": run.results.model_dump(mode="json")} for run in runs
        ]
    }
    (RESULTS / "promptings.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the sets.")],
    work: Annotated[Path, typer.Option(help="Folder for models, learned prompts and runs.")],
    images: Annotated[int, typer.Option(min=1, help="Images a set.")] = 100,
    n_max: Annotated[int, typer.Option(min=1, help="Most samples a noise level.")] = 2000,
    seed: Annotated[
        list[int] | None, typer.Option(min=1, help="1 is the model that ships.  (default: 1, 2, 3)")
    ] = None,
    image_set: Annotated[list[str] | None, typer.Option(help="Repeatable.  (default: all)")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Repeatable.  (default: denoised, noise-trained)")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Train and judge baselines too.")] = True,
) -> None:
    """Trains, learns and certifies what is missing, and writes the tables."""
    evidence = Evidence(
        data=data,
        work=work,
        images=images,
        n_max=n_max,
        seeds=seed or [1, 2, 3],
        sets=image_set or SETS,
        baselines=(baseline or BASELINES) if baselines else (),
    )
    evidence.train()
    evidence.certify()
    words = [f"--images {images} --n-max {n_max}"]
    words += [f"--seed {one}" for one in seed or ()]
    words += [f"--image-set {one}" for one in image_set or ()]
    words += [f"--baseline {one}" for one in baseline or ()]
    words += [] if baselines else ["--no-baselines"]
    command = f"python benchmarks/accuracy/evidence.py --data DIR --work DIR {' '.join(words)}"
    runs = [Run(command, cell.load()) for cell in evidence.list_cells()]
    write(sorted([*runs, *find_earlier(runs)], key=lambda run: run.order))


if __name__ == "__main__":
    typer.run(main)
