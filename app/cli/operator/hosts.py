"""promptsmooth workers, drain and resume: shows worker hosts and whether they take jobs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDir, connect
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from redis import Redis

    from worker.contract import WorkerReport

Host = Annotated[
    str,
    typer.Option(
        help="A worker host as `promptsmooth workers` shows it, or a machine's host name.  "
        "(default: every host)"
    ),
]
_LOOK_S = 0.5


def workers(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """List the worker hosts and the state of each: starting, ready, draining, drained or broken.

    Exit status 0 if at least one host takes jobs, otherwise 1.
    """
    import json

    from worker.store import hosts

    with sentences():
        reports = hosts.list_workers(connect(data_dir))
    if as_json:
        typer.echo(json.dumps([report.model_dump(mode="json") for report in reports], indent=2))
    else:
        for report in reports:
            models = ", ".join(held.model.id for held in report.models) or "no model"
            typer.echo(f"{report.name}  {report.shown_state}  {report.detail or models}")
        if not reports:
            typer.echo("no worker host has announced itself")
    raise typer.Exit(0 if any(r.shown_state == "ready" for r in reports) else 1)


def drain(
    host: Host = "*",
    finish: Annotated[
        bool, typer.Option("--finish", help="Let running jobs end instead of handing them back.")
    ] = False,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait", min=0, help="Seconds to wait until the hosts are drained; 0: do not wait."
        ),
    ] = 60.0,
    data_dir: DataDir = None,
) -> None:
    """Stop worker hosts from taking jobs; running ones return to the queue with their votes.

    New jobs are still accepted and wait. Hosts that start in the meantime take no jobs either,
    until `promptsmooth resume`. Exit status 0 once nothing runs on the hosts, 1 if the wait ends
    first.
    """
    from worker.store import hosts

    with sentences():
        redis = connect(data_dir)
        hosts.drain(redis, host, how="finish" if finish else "hand back")
        deadline = time.monotonic() + wait_s
        while left := [r for r in _concerned(redis, host) if r.shown_state != "drained"]:
            if time.monotonic() >= deadline:
                for report in left:
                    typer.echo(f"{report.name}  {report.shown_state}")
                raise typer.Exit(1)
            time.sleep(_LOOK_S)
        for report in _concerned(redis, host):
            typer.echo(f"{report.name}  drained")
    typer.echo("drained; promptsmooth resume lets the hosts take jobs again")


def resume(host: Host = "*", data_dir: DataDir = None) -> None:
    """Undo `promptsmooth drain`, for one host or for all."""
    from worker.store import hosts

    with sentences():
        hosts.resume(connect(data_dir), host)
    typer.echo("resumed")


def _concerned(redis: "Redis", host: str) -> "list[WorkerReport]":
    """The living hosts that a drain concerns. A broken host runs nothing in any case."""
    from worker.store import hosts

    return [
        report
        for report in hosts.list_workers(redis)
        if hosts.concerns(report, host) and report.shown_state != "broken"
    ]
