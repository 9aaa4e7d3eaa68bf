"""What the doctor found, printed."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from app.deployment.checks import Check

_MARKS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "fails": typer.colors.RED}


def print_checks(checks: "Sequence[Check]", *, as_json: bool) -> NoReturn:
    """Prints one line for each check, or JSON, and ends: exit status 1 if something fails."""
    if as_json:
        typer.echo(json.dumps([check.model_dump(mode="json") for check in checks], indent=2))
    else:
        for check in checks:
            mark = typer.style(f"{check.verdict:8}", fg=_MARKS[check.verdict])
            typer.echo(f"{mark} {check.name}: {check.found}" + (f" → {check.do}" * bool(check.do)))
    raise typer.Exit(1 if any(check.verdict == "fails" for check in checks) else 0)
