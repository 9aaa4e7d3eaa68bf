"""Certificates as a table for a person, whole in a terminal of 80 columns."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.contract.certificate.document import FinishedResult


def print_certificates(result: FinishedResult, console: Console) -> None:
    """Figures and promptings are never cut or broken; class names and scopes take more lines."""
    console.print(_create_table(result))
    for note in result.input.notes:
        console.print(f"note: {note}", markup=False)
    console.print("Radii are l2, in pixels scaled to [0, 1]. Research use only.")


def _create_table(result: FinishedResult) -> Table:
    title = f"model {result.model.id}, image {result.input.sha256[:12]}"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0))
    for column in ("sigma", "prompting", "outcome"):
        table.add_column(column, no_wrap=True)
    table.add_column("class", overflow="fold")
    for column in ("l2 radius", "samples"):
        table.add_column(column, no_wrap=True)
    table.add_column("covers", overflow="fold")
    for entry in result.certificates:
        claim = (entry.prediction, str(entry.radius)) if entry.outcome == "certified" else ("", "")
        scope = entry.guarantee_scope.replace("_", " ")
        shown = (f"{entry.sigma:f}", entry.prompting, entry.outcome, *claim, str(entry.n_used))
        table.add_row(*map(escape, (*shown, scope)))
    return table
