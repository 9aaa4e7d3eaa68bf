"""promptsmooth audit, reproduce and check-votes: a certificate checked by who trusts nobody."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli.options import DataDir, get_data_dir
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from worker.certification import Finding
    from worker.contract.certificate.audit import AuditReport

_HOLDS, _FAILS, _KEY_NOT_COMPARED = 0, 1, 3

_PromptFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--prompt",
        exists=True,
        dir_okay=False,
        help="A prompt that the certificate names and that is not stored here: its card (.toml), "
        "or what GET /prompts/{id}/ctx answered; repeatable.",
    ),
]
_Certificate = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A finished certification as JSON.")
]
_CertifiedImage = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The image that was certified.")
]


def audit(
    certificate: _Certificate,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A public key to trust, base64, as GET /keys/signing gives it."),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Print the checks that hold too, and what no audit of counts can see."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a certificate from its counts alone: no model, no server, nobody trusted.

    The last line is the verdict. Exit status 0: every check holds, and a key given with --key
    signed it. 1: a check does not hold. 2: the file or a key cannot be read. 3: every check holds,
    and no key was given to compare the signer's with.
    """
    from worker.contract.certificate.audit import audit_document, load_document
    from worker.contract.certificate.signature import parse_public_key
    from worker.sampling.table import create_noise_table

    with sentences():
        report = audit_document(
            load_document(certificate),
            tuple(map(parse_public_key, key or ())),
            lambda sigma: create_noise_table(sigma).sha256,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_report(report, verbose=verbose)
    raise typer.Exit(_find_status(report))


def _find_status(report: "AuditReport") -> int:
    if not report.holds:
        return _FAILS
    return _HOLDS if report.key_compared else _KEY_NOT_COMPARED


def _print_report(report: "AuditReport", *, verbose: bool) -> None:
    """Failures first, the verdict last."""
    shown = sorted(report.findings, key=lambda finding: finding.holds)
    for finding in shown:
        if verbose or not finding.holds:
            _print_finding(finding.holds, finding.certificate, finding.sentence)
    for sentence in report.unseen if verbose else ():
        typer.echo(f"not seen  {sentence}")
    if report.unsigned:
        names = ", ".join(json.dumps(name) for name in report.unsigned)
        typer.echo(f"unsigned  Whoever passed the document on can have changed {names}.")
    colour = typer.colors.GREEN if report.holds else typer.colors.RED
    typer.secho(report.verdict, fg=colour, bold=True)


def reproduce(
    certificate: _Certificate,
    image: _CertifiedImage,
    prompt: _PromptFiles = None,
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


def check_votes(
    certificate: _Certificate,
    image: _CertifiedImage,
    votes: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="What GET /certifications/{id}/votes answered."
        ),
    ],
    prompt: _PromptFiles = None,
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
    raise typer.Exit(_HOLDS if all(finding.holds for finding in findings) else _FAILS)


def end_with(findings: Sequence["Finding"], *, key_compared: bool) -> NoReturn:
    """Prints the findings and a verdict, the last line; exits as `audit` does."""
    for finding in findings:
        _print_finding(finding.holds, finding.certificate, finding.sentence)
    failed = sum(not finding.holds for finding in findings)
    not_compared = "" if key_compared else "; key not compared"
    verdict = f"DOES NOT HOLD: {failed} of {len(findings)} checks" if failed else "HOLDS"
    colour = typer.colors.RED if failed else typer.colors.GREEN
    typer.secho(verdict + ("" if failed else not_compared), fg=colour, bold=True)
    raise typer.Exit(_FAILS if failed else _HOLDS if key_compared else _KEY_NOT_COMPARED)


def _print_finding(holds: bool, place: int | None, sentence: str) -> None:
    where = "document" if place is None else f"certificate {place}"
    colour = typer.colors.GREEN if holds else typer.colors.RED
    typer.secho(f"{'holds' if holds else 'FAILS'}     {where}: {sentence}", fg=colour)
