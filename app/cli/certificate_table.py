"""Certificates as a table for a person, whole in a terminal of 80 columns."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.request.goal import Goal, find_goal, say_reasons
from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.statement import covers_no_other_image


def print_certificates(result: FinishedResult, console: Console) -> None:
    """Figures and promptings are never cut or broken; class names and scopes take more lines."""
    goal = find_goal(result.certificates)
    if goal is not None:
        reasons = say_reasons(result.certificates, goal)
        console.print(f"{goal.headline}. {reasons}", markup=False)
    console.print(_create_table(result, goal))
    for note in result.input.notes:
        console.print(f"note: {note}", markup=False)
    console.print(_summarize(result), markup=False)
    console.print("Radii are l2, in pixels scaled to [0, 1]. Research use only.")


def _summarize(result: FinishedResult) -> str:
    """The confidence and how to read several certificates, as their statements say it."""
    first = result.certificates[0]
    classes = {c.prediction for c in result.certificates if c.outcome == "certified"}
    each = "all together" if first.joint else "each"
    head = "contradictory: certificates claim different classes; " if len(classes) > 1 else ""
    vacuous = [f"{c.sigma:f}" for c in result.certificates if covers_no_other_image(c)]
    tail = f" At sigma {', '.join(vacuous)} no other 8-bit image is that near." if vacuous else ""
    return f"{head}confidence {1 - first.alpha:f} {each}.{tail}"


def _create_table(result: FinishedResult, goal: Goal | None) -> Table:
    title = f"model {result.model.id}, image {result.input.sha256[:12]}"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0))
    for column in ("sigma", "prompting", "outcome"):
        table.add_column(column, no_wrap=True)
    table.add_column("class", overflow="fold")
    for column in ("l2 radius", "samples"):
        table.add_column(column, no_wrap=True)
    table.add_column("covers", overflow="fold")
    if goal is not None:
        table.add_column(f">= {goal.radius:f}", no_wrap=True)
    for place, entry in enumerate(result.certificates):
        claim = (entry.prediction, str(entry.radius)) if entry.outcome == "certified" else ("", "")
        scope = entry.guarantee_scope.replace("_", " ")
        shown = (f"{entry.sigma:f}", entry.prompting, entry.outcome, *claim, str(entry.n_used))
        answers = () if goal is None else ("yes" if goal.reached[place] else "not shown",)
        table.add_row(*map(escape, (*shown, scope, *answers)))
    return table
