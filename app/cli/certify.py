"""promptsmooth certify: one image in this process, or images by way of a service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import (
    AlphaOption,
    DataDir,
    MostSamples,
    Procedure,
    ProcedureOption,
    Prompting,
    SelectionSamples,
    ToleranceOption,
    get_data_dir,
)
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.local.asked import CertifyOptions
    from worker.contract.certificate.document import FinishedResult

_SERVICE = "With --server"


def certify(
    image: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM; with --server a folder of them, too.",
        ),
    ],
    sigma: Annotated[
        list[str] | None,
        typer.Option(help="Noise level, a decimal from 0.001 to 10; repeatable. (default: 0.25)"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model id.  (default: bundled, or the service's default)")
    ] = None,
    prompting: Annotated[
        list[Prompting] | None,
        typer.Option(
            help="Repeatable; all share one pass of the image tower.  (default: few-shot where a "
            "prompt is named, else template)"
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Id or digest of a stored prompt (promptsmooth prompts); repeatable."),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option(help="Class; repeatable.  (default: the prompt's, else the model card's)"),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Text with {} for the class.  (default: as for the class)")
    ] = None,
    procedure: ProcedureOption = Procedure.STAGED,
    n_max: MostSamples = 10_000,
    n0: SelectionSamples = 100,
    target_radius: Annotated[
        str | None, typer.Option(help="staged: stop once the radius is this, or cannot be.")
    ] = None,
    tolerance: ToleranceOption = "0.05",
    joint: Annotated[
        bool,
        typer.Option(
            "--joint",
            help="All certificates, one a noise level and prompting, hold together at 1 - alpha.",
        ),
    ] = False,
    alpha: AlphaOption = "0.001",
    attempt: Annotated[int, typer.Option(min=0, help="Number of a deliberate new roll.")] = 0,
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of a multi-frame file.")] = None,
    window: Annotated[str | None, typer.Option(help="Grey window: centre,width or auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="PROMPTSMOOTH_SERVER",
            help="Address of a service that certifies, like https://certify.hospital.example.",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with the API key.  (default: the variable PROMPTSMOOTH_API_KEY)",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Certificates of the authorities to trust (PEM).  (default: the system's)",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for one JSON document an image and certificates.csv; a folder of images "
            "needs it.",
            rich_help_panel=_SERVICE,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Certify one image in this process, or images by way of a service (--server).

    Exit status 0 when there are certificates, abstentions included; 2 when there is none. Of a
    folder, 1 when some of its images have none.

    promptsmooth certify scan.dcm --sigma 0.25 --sigma 0.5

    promptsmooth certify scans/ --server https://certify.hospital.example --output certificates/
    """
    from app.local.asked import CertifyOptions

    asked = CertifyOptions(
        sigmas=tuple(sigma or ["0.25"]),
        model=model,
        promptings=tuple(one.value for one in prompting or ()),
        prompts=tuple(prompt or ()),
        class_names=tuple(class_name) if class_name else None,
        template=template,
        procedure=procedure.value,
        n=n_max,
        n0=n0,
        target_radius=target_radius,
        tolerance=tolerance,
        joint=joint,
        alpha=alpha,
        attempt=attempt,
        frame=frame,
        window=window,
    )
    with sentences():
        if server is None:
            _refuse_server_options(api_key_file, ca, output)
            _certify_here(image, asked, data_dir=data_dir, as_json=as_json)
        else:
            connection = {"api_key_file": api_key_file, "ca": ca}
            _certify_remotely(image, asked, server, connection, output, as_json=as_json)


def _refuse_server_options(*given: Path | None) -> None:
    if any(one is not None for one in given):
        raise ValueError("--api-key-file, --ca and --output belong to --server, which is not given")


def _certify_here(
    image: Path, asked: "CertifyOptions", *, data_dir: Path | None, as_json: bool
) -> None:
    from worker.processes.scheduling import wait_passively

    wait_passively()
    from app.local.certify import certify_here

    show = partial(_progress, quiet=as_json)
    result = certify_here(image, asked, data_dir=get_data_dir(data_dir), show=show)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _print(result)


def _certify_remotely(
    image: Path,
    asked: "CertifyOptions",
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
