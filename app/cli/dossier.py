"""promptsmooth dossier and verify: what an evaluation showed, as a signed PDF, and its check."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.checking import end_with
from app.cli.options import WITH_SERVER, ApiKeyFile, Authorities, DataDir, get_data_dir
from app.cli.terminal import say_note, sentences

_Images = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="The folder that was evaluated: adds source, licence and everyday changes.",
    ),
]


def dossier(
    run: Annotated[
        Path,
        typer.Argument(
            file_okay=False,
            help="Folder of a finished run of evaluate; with --evaluation the folder to fetch it "
            "into.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The PDF; the JSON file gets the same name with .json.")
    ] = Path("dossier.pdf"),
    data: _Images = None,
    evaluation: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="An evaluation that the service of --server made of a dataset there.",
            rich_help_panel=WITH_SERVER,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="That service.", rich_help_panel=WITH_SERVER),
    ] = None,
    api_key_file: ApiKeyFile = None,
    ca: Authorities = None,
    secret: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File of the key secret of the service that certified the images, which only its "
            "operator has: signs the dossier.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write what an evaluation showed of a model, for people who were not there: PDF and JSON.

    Every certificate of the run is audited, and all figures are recomputed from them, before
    anything is written. Both files are signed together by the key that signed the certificates, and
    `promptsmooth verify` checks them. The dossier says nothing about fitness for a use and nothing
    about laws.

    With --server and --evaluation the run is one that a service made with POST /evaluations: its
    files are fetched into the folder first.
    """
    from worker.processes.scheduling import wait_passively

    wait_passively()
    own = get_data_dir(data_dir)
    with sentences():
        _fetch(run, evaluation, server, api_key_file, ca)  # before what takes seconds to import
        from app.dossier.files import write_dossier
        from app.dossier.gather import DossierOptions

        options = DossierOptions(run=run, data=data, data_dir=own, written=datetime.now(UTC).date())
        written = write_dossier(options, own / "run-secrets", out, key_secret=secret)
    if not written.is_signed:
        say_note(f"not signed: the secret of this run is not in {own / 'run-secrets'}")
    typer.echo(f"written to {written.pdf} and {written.json}")


def _fetch(
    run: Path,
    evaluation: str | None,
    server: str | None,
    api_key_file: Path | None,
    ca: Path | None,
) -> None:
    """Fetches the run into its folder if a service made it.

    Raises:
        ValueError: only some of the options are given, or as `fetch_run`.
    """
    if server is None or evaluation is None:
        if server or evaluation or api_key_file or ca:
            raise ValueError("--server and --evaluation belong together: give both, or neither")
        return
    from app.cli.certify_remotely import read_connection
    from app.cli.remote.finished import fetch_run
    from app.client import Client

    with Client(server, **read_connection(api_key_file=api_key_file, ca=ca)) as client:
        fetch_run(client, evaluation, run)


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="The JSON file of a dossier, or the PDF beside it."
        ),
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(help="A public key to trust, base64, as the run's certificates name it."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder of the run: audits its certificates and recomputes the dossier.",
        ),
    ] = None,
    data: _Images = None,
    data_dir: DataDir = None,
) -> None:
    """Check a dossier: its signature, its PDF, and with --run every figure of it.

    The last line is the verdict. Exit status 0: every check holds, and a key given with --key
    signed it. 1: a check does not hold. 2: a file or a key cannot be read. 3: every check holds,
    and no key was given to compare the signer's with.
    """
    from worker.contract.certificate.signature import parse_public_key
    from worker.evaluation.dossier.signed import check_sealed, parse_sealed

    with sentences():
        keys = tuple(map(parse_public_key, key or ()))
        pdf = file.with_suffix(".pdf")
        stated = file.with_suffix(".json") if file == pdf else file
        document = parse_sealed(stated.read_bytes())
        printed = pdf.read_bytes() if pdf.exists() else None
        findings = check_sealed(document, printed, keys)
        if run is not None:
            from app.dossier.files import recompute
            from app.dossier.gather import DossierOptions

            options = DossierOptions(
                run=run,
                data=data,
                data_dir=get_data_dir(data_dir),
                written=datetime.now(UTC).date(),
            )
            findings = (*findings, *recompute(document, options, printed))
    if printed is None:
        say_note(f"{pdf} is not there, so only the JSON file was checked")
    elif run is not None and findings[-1].code != "printed":
        say_note("other versions printed the PDF, so the run was not printed to compare it")
    end_with(findings, key_compared=bool(keys))
