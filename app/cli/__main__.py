"""The command line. Heavy imports stand inside the commands."""

import io
import logging
import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from app.cli import checking
from app.cli.certify import certify
from app.cli.dicom import dicom_cli
from app.cli.dossier import dossier, verify
from app.cli.evaluate import evaluate
from app.cli.learn import learn
from app.cli.models.commands import models_cli
from app.cli.operator import hosts, operations
from app.cli.operator.audit_log import audit_log_cli
from app.cli.operator.keys import keys_cli
from app.cli.operator.webhooks import webhooks_cli
from app.cli.options import DataDir, get_data_dir
from app.cli.prompts import prompts_cli
from app.cli.terminal import sentences
from app.cli.witness import witness
from worker.processes.scheduling import wait_passively

cli = typer.Typer(
    name="promptsmooth",
    help="Certified robustness of medical vision-language models. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cli.add_typer(models_cli)
cli.add_typer(prompts_cli)
cli.add_typer(keys_cli)
cli.add_typer(audit_log_cli)
cli.add_typer(webhooks_cli)
cli.add_typer(dicom_cli)
cli.command()(certify)
cli.command()(witness)
cli.command()(learn)
cli.command()(evaluate)
cli.command()(dossier)
cli.command()(verify)
cli.command()(checking.audit)
cli.command()(checking.reproduce)
cli.command()(checking.check_votes)
cli.command()(hosts.workers)
cli.command()(hosts.drain)
cli.command()(hosts.resume)
cli.command()(operations.doctor)
cli.command()(operations.backup)
cli.command()(operations.restore)
cli.command()(operations.repair)
cli.command()(operations.sweep)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"promptsmooth {version('promptsmooth-service')}")
        raise typer.Exit


@cli.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Certified robustness of medical vision-language models. Research use only."""
    wait_passively()  # whichever command imports torch


@cli.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer requests.")
    ] = 1,
    data_dir: DataDir = None,
) -> None:
    """Run the whole service on this machine until ctrl-C.

    Redis is the one REDIS_URL names, else a redis-server or valkey-server of the PATH, else the
    embedded Valkey. Accepted jobs survive a restart: they lie in the data folder.
    """
    from app.deployment.one_machine import LocalStack
    from app.deployment.variables import find_mounted
    from worker.processes.logs import configure_logging

    configure_logging(logging.WARNING)
    with sentences():
        for unread in find_mounted(os.environ):
            said = f"{unread.name} is for containers: set {unread.meant}"
            typer.secho(f"warning: {said}", err=True, fg=typer.colors.YELLOW)
        own = get_data_dir(data_dir)
        stack = LocalStack(host=host, port=port, data_dir=own, workers=workers)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stack.stop())
        typer.echo("starting Redis, worker and app ...")
        stack.run(
            lambda: typer.echo(
                f"ready. The page: {stack.url}  the interface: {stack.url}/docs  (ctrl-C ends)"
            )
        )
    typer.echo("stopped")


def main() -> None:
    """The console script."""
    _write_every_character()
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _drop_output()
        where = "standard output" if error.filename is None else error.filename
        typer.secho(f"promptsmooth: {where}: {error.strerror}", err=True, fg=typer.colors.RED)
        sys.exit(2)


def _drop_output() -> None:
    """Standard output takes nothing more: what is left goes nowhere, instead of failing again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_every_character() -> None:
    """Files and pipes get UTF-8, as JSON has to be; a terminal gets what it can show, else \\u03c3.

    Some locales have neither σ nor an arrow, and the command would end at the first of them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=own, errors="backslashreplace")


if __name__ == "__main__":
    main()
