"""promptsmooth witness: the smallest change found that changes an answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import options
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.client import Client
    from worker.contract.witness import FinishedWitness

_Certification = Annotated[str, typer.Argument(help="Id of a finished certification.")]
_Server = Annotated[
    str,
    typer.Option(envvar="PROMPTSMOOTH_SERVER", help="Address of the service that certified it."),
]
_Output = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Folder for the witness as JSON, and its images as PNG."),
]


def witness(
    certification: _Certification,
    server: _Server,
    api_key_file: options.ApiKeyFile = None,
    ca: options.Authorities = None,
    output: _Output = None,
    as_json: options.AsJson = False,
) -> None:
    """Look for the smallest change of an image that changes its certified answer.

    A change that was found says that the answer there is another one. Where nothing was found,
    nothing is proved.

    Exit status: 0 if the search ended without an alarm, whatever it found; 1 after an alarm: a
    smoothed answer changed within its certified radius; 2 if there is no witness.

    promptsmooth witness 0b84da17385b480ca313945526bdf4b8 --server https://certify.hospital.example
    """
    from app.cli.certify_remotely import open_client

    with sentences():
        with open_client(server, api_key_file=api_key_file, ca=ca) as client:
            found = find_remotely(client, certification)
            if output is not None:
                _save(client, certification, found, output)
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
        else:
            print_witness(found)
    raise typer.Exit(1 if found.alarm else 0)


def find_remotely(client: "Client", certification_id: str) -> "FinishedWitness":
    """The witness of a finished certification, looked for by its service.

    Raises:
        ValueError: it could not be looked for.
    """
    return parse_witness(client.witness(certification_id))


def parse_witness(found: Mapping[str, Any]) -> "FinishedWitness":
    """The witness in a service's answer. Raises ValueError if it could not be looked for."""
    from worker.contract.witness import FinishedWitness

    if found["status"] != "finished":
        raise ValueError(f"there is no witness. {found['failure']['detail']}")
    known = {name: found[name] for name in FinishedWitness.model_fields if name in found}
    return FinishedWitness.model_validate(known)


def _save(client: "Client", certification: str, found: "FinishedWitness", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "witness.json").write_text(found.model_dump_json(indent=2), encoding="utf-8")
    for one in found.witnesses:
        for which in ("smoothed", "undefended"):
            if getattr(one, which).outcome == "changed":
                png = client.witness_image(certification, certificate=one.certificate, which=which)
                (folder / f"{one.certificate}-{which}.png").write_bytes(png)


def print_witness(found: "FinishedWitness") -> None:
    """The sentences of each certificate, and what they rest on."""
    for one in found.witnesses:
        typer.echo(f"witness, sigma {one.sigma:f}: {one.statement}")
    typer.echo(
        f"Distances are l2, in pixels scaled to [0, 1], after rounding to 8 bits; "
        f"{found.settings.votes} fresh votes show a smoothed answer at confidence "
        f"{1 - found.alpha:f}. A search proves no distance safe."
    )
    if found.other_f is not None:
        typer.echo(f"Searched by {found.other_f}.")
