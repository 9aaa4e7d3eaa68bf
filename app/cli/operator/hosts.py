"""promptsmooth workers, drain and resume: which hosts take jobs, and which are not to."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDir, get_data_dir
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from redis import Redis

    from worker.contract import WorkerReport

Host = Annotated[
    str,
    typer.Option(
        help="A worker host as `promptsmooth workers` names it, or a machine's host name.  "
        "(default: every host)"
    ),
]
_LOOK_S = 0.5


def workers(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """List the worker hosts and what each does: starting, ready, draining, drained or broken.

    Exit status 0 when one of them takes jobs, 1 when none does.
    """
    import json

    with sentences():
        reports = _list(_connect(data_dir))
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
        float, typer.Option("--wait", min=0, help="Seconds to wait until it is done; 0: do not.")
    ] = 60.0,
    data_dir: DataDir = None,
) -> None:
    """Have worker hosts take no more jobs; running ones go back to the queue with their votes.

    Jobs are still accepted and wait. Hosts that start meanwhile take none either, until
    `promptsmooth resume`. Exit status 0 when nothing runs there any more, 1 when the wait is over.
    """
    from worker.store import hosts

    with sentences():
        redis = _connect(data_dir)
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
    typer.echo("drained; promptsmooth resume has the hosts work again")


def resume(host: Host = "*", data_dir: DataDir = None) -> None:
    """Take back `promptsmooth drain`, for one host or for all."""
    from worker.store import hosts

    with sentences():
        hosts.resume(_connect(data_dir), host)
    typer.echo("resumed")


def _concerned(redis: "Redis", host: str) -> "list[WorkerReport]":
    """The living hosts a wish concerns; a broken one runs nothing, whatever is wished."""
    from worker.store import hosts

    return [
        report
        for report in _list(redis)
        if hosts.concerns(report, host) and report.shown_state != "broken"
    ]


def _list(redis: "Redis") -> "tuple[WorkerReport, ...]":
    from redis.exceptions import RedisError

    from app.deployment.redis_server import NoRedis
    from worker.store import hosts

    try:
        return hosts.list_workers(redis)
    except RedisError as error:
        raise NoRedis(f"Redis does not answer: {error}") from None


def _connect(data_dir: "DataDir") -> "Redis":
    from app.deployment.redis_server import connect_redis

    return connect_redis(get_data_dir(data_dir))
