"""The files that hold the results of a run."""

from datetime import date
from pathlib import Path

from worker.evaluation.csv_table import format_csv
from worker.evaluation.latex_table import format_latex
from worker.evaluation.plot import write_plots
from worker.evaluation.results import EvaluationResults
from worker.evaluation.tables import format_markdown


def write_results(results: EvaluationResults, folder: Path, *, written: date) -> None:
    """Writes results.json, results.csv, results.md, results.tex, plot.svg and plot.png.

    Args:
        results: the results of a finished run.
        folder: where to.
        written: the day that results.md states.
    """
    (folder / "results.json").write_text(results.model_dump_json(indent=1) + "\n", "utf-8")
    (folder / "results.csv").write_text(format_csv(results), "utf-8")
    (folder / "results.md").write_text(format_markdown(results, written=written), "utf-8")
    (folder / "results.tex").write_text(format_latex(results), "utf-8")
    write_plots(results, folder)
