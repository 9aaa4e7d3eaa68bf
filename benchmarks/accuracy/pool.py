"""Pools the paired differences of several runs of `promptsmooth evaluate`.

    python benchmarks/accuracy/pool.py RUN RUN ... --sigma 0.5 --sigma 1

Every RUN is the folder of a finished run. A row of the table is one prompting or baseline at one
multiple of sigma as the radius, over all runs and noise levels named. The interval is a paired
bootstrap over images: an image is drawn with its cells at all noise levels and under all models,
and the images of each set from that set. Runs of one set under several models share its images.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from worker.evaluation.comparison.pooled import Judged, Pooled
from worker.evaluation.results import EvaluationResults

FACTORS = ["0", "0.5", "1"]


def load_results(folder: Path) -> EvaluationResults:
    """The results of a finished run.

    Raises:
        typer.BadParameter: there are none, or an older version wrote them.
    """
    path = folder / "results.json"
    try:
        return EvaluationResults.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise typer.BadParameter(
            f"{folder} holds no results.json: the run is not finished"
        ) from None
    except ValidationError as error:
        raise typer.BadParameter(
            f"{path} is not of this version. Start promptsmooth evaluate again with the same "
            "arguments: it writes the results anew and certifies no image twice."
        ) from error


def pair(
    runs: Sequence[EvaluationResults], label: str, sigmas: Sequence[Decimal], factor: Decimal
) -> Iterator[Judged]:
    """A row and the template's, at each noise level of each run.

    Raises:
        typer.BadParameter: a run has no such row, or no template.
    """
    for run in runs:
        for sigma in sigmas:
            rows = [run.find_arm(label, sigma), run.find_arm("template", sigma)]
            if None in rows:
                question = run.question
                raise typer.BadParameter(
                    f"the run of {question.dataset} under {question.identity.model.id} has no row "
                    f"{label} or no template at sigma {sigma}"
                )
            row, template = (one.radii_by_image for one in rows if one is not None)
            yield Judged(
                images=run.question.listing_sha256,
                row=row,
                reference=template,
                radius=factor * sigma,
            )


def format_pooled(
    runs: Sequence[EvaluationResults], sigmas: Sequence[Decimal], factors: Sequence[Decimal]
) -> Iterator[str]:
    """The lines of a Markdown table: every row that all runs have, at every radius."""
    yield "| row | r | template | row's own | difference (95 % interval) | cells | images |"
    yield "| --- " * 7 + "|"
    for label in dict.fromkeys(arm.label for arm in runs[0].arms):
        if label == "template" or not all(run.find_arm(label, sigmas[0]) for run in runs):
            continue
        for factor in factors:
            found = Pooled.of(list(pair(runs, label, sigmas, factor)))
            interval = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
            yield (
                f"| {label} | {_name(factor)} | {found.reference:.3f} | {found.accuracy:.3f} | "
                f"{interval} | {found.cells} | {found.images} |"
            )


def _name(factor: Decimal) -> str:
    return "0" if factor == 0 else "σ" if factor == 1 else f"{factor:f} σ"


def main(
    run: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="Runs' folders.")],
    sigma: Annotated[list[str], typer.Option(help="A noise level of all runs; repeatable.")],
    factor: Annotated[
        list[str] | None, typer.Option(help="Radius in units of sigma.  (default: 0, 0.5 and 1)")
    ] = None,
) -> None:
    """Prints the table."""
    results = [load_results(folder) for folder in run]
    sigmas, factors = list(map(Decimal, sigma)), list(map(Decimal, factor or FACTORS))
    names = ", ".join(
        f"{one.question.dataset} ({one.question.identity.model.id})" for one in results
    )
    typer.echo(f"Pooled over {names} at σ {', '.join(sigma)}.\n")
    for line in format_pooled(results, sigmas, factors):
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
