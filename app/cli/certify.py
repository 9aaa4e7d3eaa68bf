"""promptsmooth certify: one image in this process, or images sent to a service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import options
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.request.certify import CertifyFields
    from worker.contract.certificate.document import FinishedResult

_SERVICE = "With --server"

_Image = Annotated[
    Path,
    typer.Argument(
        exists=True,
        help="PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM; with --server also a folder of them.",
    ),
]
_Sigma = Annotated[
    options.Texts,
    typer.Option(help="Noise level, a decimal from 0.001 to 10; repeatable.  (default: 0.25)"),
]
_Model = Annotated[
    options.Text, typer.Option(help="Model id.  (default: bundled-2, or the service's default)")
]
_Prompt = Annotated[
    options.Texts,
    typer.Option(help="Id or digest of a stored prompt (promptsmooth prompts); repeatable."),
]
_ClassName = Annotated[
    options.Texts,
    typer.Option(help="Class; repeatable.  (default: the prompt's, else the model card's)"),
]
_Template = Annotated[
    options.Text, typer.Option(help="Text with {} for the class.  (default: as for the class)")
]
_Targets = Annotated[
    options.Text,
    typer.Option(
        metavar="JSON|@FILE",
        help="Several label sets, as POST /certify takes them, instead of prompting, prompt, "
        "class-name and template.",
    ),
]
_TargetRadius = Annotated[
    options.Text,
    typer.Option(help="staged: stop once the radius reaches this, or cannot reach it."),
]
_MinimumRadius = Annotated[
    options.Text,
    typer.Option(
        help="staged, no target: stop once even this is out of reach.  (default: 0.05 sigma)"
    ),
]
_Joint = Annotated[
    bool,
    typer.Option(
        "--joint",
        help="All certificates (one per noise level and prompting) hold together at 1 - alpha.",
    ),
]
_Attempt = Annotated[
    options.Text, typer.Option(help="Number of a deliberate new roll.  (default: 0)")
]
_Frame = Annotated[options.Text, typer.Option(help="Frame of a multi-frame file, from 0.")]
_Window = Annotated[options.Text, typer.Option(help="Grey window: centre,width or auto.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
_Server = Annotated[
    options.Text,
    typer.Option(
        envvar="PROMPTSMOOTH_SERVER",
        help="Address of a service that certifies, like https://certify.hospital.example.",
        rich_help_panel=_SERVICE,
    ),
]
_ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="File with the API key.  (default: the variable PROMPTSMOOTH_API_KEY)",
        rich_help_panel=_SERVICE,
    ),
]
_Authorities = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Certificates of the authorities to trust (PEM).  (default: the system's)",
        rich_help_panel=_SERVICE,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Folder for certificates.csv and one JSON document per image; required for a "
        "folder of images.",
        rich_help_panel=_SERVICE,
    ),
]


def certify(
    image: _Image,
    sigma: _Sigma = None,
    model: _Model = None,
    prompting: options.PromptingOption = None,
    prompt: _Prompt = None,
    class_name: _ClassName = None,
    template: _Template = None,
    targets: _Targets = None,
    procedure: options.ProcedureOption = None,
    n_max: options.MostSamples = None,
    target_radius: _TargetRadius = None,
    tolerance: options.ToleranceOption = None,
    minimum_radius: _MinimumRadius = None,
    n: options.BoundSamples = None,
    n0: options.SelectionSamples = None,
    joint: _Joint = False,
    alpha: options.AlphaOption = None,
    attempt: _Attempt = None,
    frame: _Frame = None,
    window: _Window = None,
    as_json: _AsJson = False,
    server: _Server = None,
    api_key_file: _ApiKeyFile = None,
    ca: _Authorities = None,
    output: _Output = None,
    data_dir: options.DataDir = None,
) -> None:
    """Certify one image in this process, or send images to a service (--server).

    Exit status: 0 if there are certificates, abstentions included; 2 if there are none; for a
    folder, 1 if some of its images have none.

    promptsmooth certify scan.dcm --sigma 0.25 --sigma 0.5

    promptsmooth certify scans/ --server https://certify.hospital.example --output certificates/
    """
    from app.request.certify import check_fields, parse_fields
    from app.request.limits import Limits

    with sentences():
        asked = options.said(
            sigma=sigma or ["0.25"],
            model=model,
            prompting=prompting,
            prompt=prompt,
            class_name=class_name,
            template=template,
            targets=_read(targets),
            procedure=procedure,
            n_max=n_max,
            target_radius=target_radius,
            tolerance=tolerance,
            minimum_radius=minimum_radius,
            n=n,
            n0=n0,
            joint="true" if joint else None,
            alpha=alpha,
            attempt=attempt,
            frame=frame,
            window=window,
        )
        fields = parse_fields(asked)
        if server is None:
            _refuse_server_options(api_key_file, ca, output)
            check_fields(fields, Limits())
            _certify_here(image, fields, data_dir=data_dir, as_json=as_json)
        else:
            connection = {"api_key_file": api_key_file, "ca": ca}
            _certify_remotely(image, asked, server, connection, output, as_json=as_json)


def _read(targets: str | None) -> str | None:
    """The JSON itself, where a file was named."""
    if targets is None or not targets.startswith("@"):
        return targets
    try:
        return Path(targets[1:]).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"targets: expected JSON in UTF-8 in {targets[1:]}") from None


def _refuse_server_options(*given: Path | None) -> None:
    if any(one is not None for one in given):
        raise ValueError("--api-key-file, --ca and --output belong to --server, which is not given")


def _certify_here(
    image: Path, fields: "CertifyFields", *, data_dir: Path | None, as_json: bool
) -> None:
    from app.local.certify import certify_here

    show = partial(_progress, quiet=as_json)
    result = certify_here(image, fields, data_dir=options.get_data_dir(data_dir), show=show)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _print(result)


def _certify_remotely(
    image: Path,
    asked: options.Fields,
    server: str,
    connection: dict[str, Path | None],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    from app.cli.certify_remotely import certify_folder, certify_one, open_client, read_result

    with open_client(server, **connection) as client:
        if not image.is_dir():
            ended = certify_one(client, image, asked, quiet=as_json)
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                (output / f"{image.name}.json").write_bytes(ended.content)
            if as_json:
                typer.echo(ended.content)
            else:
                _print(read_result(ended))
            return
        if output is None:
            raise ValueError("a folder of images needs --output, the folder for its certificates")
        images, finished = certify_folder(client, image, asked, output, quiet=as_json)
    typer.echo(f"{finished} of {images} images have certificates: {output / 'certificates.csv'}")
    raise typer.Exit(0 if finished == images else 1)


def _print(result: "FinishedResult") -> None:
    from rich.console import Console

    from app.cli.certificate_table import print_certificates

    print_certificates(result, Console())


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("certifying", total=total)
        yield lambda done: progress.update(task, completed=done)
