"""The command line. Heavy imports stand inside the commands."""

import io
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli.certify import certify
from app.cli.evaluate import evaluate
from app.cli.learn import learn
from app.cli.models.commands import models_cli
from app.cli.operator import hosts, operations
from app.cli.operator.audit_log import audit_log_cli
from app.cli.operator.keys import keys_cli
from app.cli.options import DataDir, get_data_dir
from app.cli.prompts import prompts_cli
from app.cli.terminal import sentences
from worker.processes.scheduling import wait_passively

if TYPE_CHECKING:
    from worker.certification import Finding

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
cli.command()(certify)
cli.command()(learn)
cli.command()(evaluate)
cli.command()(hosts.workers)
cli.command()(hosts.drain)
cli.command()(hosts.resume)
cli.command()(operations.doctor)
cli.command()(operations.backup)
cli.command()(operations.restore)
cli.command()(operations.sweep)


@cli.callback()
def _root() -> None:
    """Certified robustness of medical vision-language models. Research use only."""
    wait_passively()  # whichever command imports torch


@cli.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the whole service on this machine until ctrl-C.

    Redis is the one REDIS_URL names, else a redis-server or valkey-server of the PATH, else the
    embedded Valkey. Accepted jobs survive a restart: they lie in the data folder.
    """
    from app.deployment.one_machine import LocalStack
    from worker.processes.logs import configure_logging

    configure_logging(logging.WARNING)
    with sentences():
        stack = LocalStack(host=host, port=port, data_dir=get_data_dir(data_dir))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stack.stop())
        typer.echo("starting Redis, worker and app ...")
        stack.run(
            lambda: typer.echo(
                f"ready: {stack.url}  documentation: {stack.url}/docs  (ctrl-C ends)"
            )
        )
    typer.echo("stopped")


PromptFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--prompt",
        exists=True,
        dir_okay=False,
        help="A prompt that the certificate names and that is not stored here: its card (.toml), "
        "or what GET /prompts/{id}/ctx answered; repeatable.",
    ),
]
Certificate = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A finished certification as JSON.")
]
CertifiedImage = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The image that was certified.")
]


@cli.command()
def audit(
    certificate: Certificate,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A public key to trust, base64, as GET /keys/signing gives it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a certificate from its counts alone: no model, no server, nobody trusted.

    Exit status 0 when every check holds, 1 when one does not.
    """
    from worker.contract.certificate.audit import audit_document, load_document
    from worker.sampling.table import create_noise_table

    with sentences():
        report = audit_document(
            load_document(certificate),
            tuple(key or ()),
            lambda sigma: create_noise_table(sigma).sha256,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        for finding in report.findings:
            _print_finding(finding.holds, finding.certificate, finding.sentence)
        for sentence in report.unseen:
            typer.echo(f"not seen  {sentence}")
    raise typer.Exit(0 if report.holds else 1)


@cli.command()
def reproduce(
    certificate: Certificate,
    image: CertifiedImage,
    prompt: PromptFiles = None,
    data_dir: DataDir = None,
) -> None:
    """Run a certificate again with its revealed noise and compare all votes.

    The image may be the file that was sent or the certified PNG itself (input.png). Needs the model
    of the certificate; another device may move votes near a tie. Exit status 0 when all votes are
    the same, 1 when not.
    """
    from app.local.engine import find_prompts, reproduce_in_process
    from worker.contract.certificate.audit import load_document

    with sentences():
        findings = reproduce_in_process(
            load_document(certificate),
            image.read_bytes(),
            find_prompts(get_data_dir(data_dir), prompt or ()),
        )
    _end(findings)


@cli.command()
def check_votes(
    certificate: Certificate,
    image: CertifiedImage,
    votes: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="What GET /certifications/{id}/votes answered."
        ),
    ],
    prompt: PromptFiles = None,
    data_dir: DataDir = None,
) -> None:
    """Check single votes of your choice: under the Merkle root, and the model's own.

    Costs one noisy image a vote, however many samples the certificate took. Exit status 0 when all
    hold, 1 when not.
    """
    from app.local.engine import check_votes_in_process, find_prompts
    from worker.contract.certificate.audit import load_document

    with sentences():
        findings = check_votes_in_process(
            load_document(certificate),
            image.read_bytes(),
            load_document(votes),
            find_prompts(get_data_dir(data_dir), prompt or ()),
        )
    _end(findings)


def _end(findings: Sequence["Finding"]) -> NoReturn:
    """Prints what was found; exit status 0 when all of it holds, else 1."""
    for finding in findings:
        _print_finding(finding.holds, finding.certificate, finding.sentence)
    raise typer.Exit(0 if all(finding.holds for finding in findings) else 1)


def _print_finding(holds: bool, place: int | None, sentence: str) -> None:
    where = "document" if place is None else f"certificate {place}"
    colour = typer.colors.GREEN if holds else typer.colors.RED
    typer.secho(f"{'holds' if holds else 'FAILS'}     {where}: {sentence}", fg=colour)


def main() -> None:
    """The console script."""
    _write_every_character()
    try:
        cli()
    except BrokenPipeError:
        sys.exit(1)


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
