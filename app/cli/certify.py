"""promptsmooth certify: one image in this process, or images sent to a service."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli import fetched, options
from app.cli.terminal import say_note, sentences

if TYPE_CHECKING:
    from app.request.certify import CertifyFields
    from worker.contract.certificate.document import FinishedResult
    from worker.contract.witness import FinishedWitness

_Image = Annotated[
    Path | None,
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
_JointBatch = Annotated[
    bool,
    typer.Option(
        "--joint-batch",
        help="Send a folder's images as one batch whose certificates all hold together, and say "
        "what they prove about the images together.",
        rich_help_panel=options.WITH_SERVER,
    ),
]
_Attempt = Annotated[
    options.Text, typer.Option(help="Number of a deliberate new roll.  (default: 0)")
]
_Frame = Annotated[options.Text, typer.Option(help="Frame of a multi-frame file, from 0.")]
_Window = Annotated[options.Text, typer.Option(help="Grey window: centre,width or auto.")]
_MostEver = Annotated[
    options.Text,
    typer.Option(
        help="staged: let the certificate go on later (--continue), up to so many samples; alpha "
        "is divided over all of them."
    ),
]
_Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Go on from the certificate in this file (JSON), with its image and the same options; "
        "no new attempt.",
    ),
]
_Witness = Annotated[
    bool,
    typer.Option(
        "--witness",
        help="Look for the smallest change that changes the answer, once it is certified.",
    ),
]
_Server = Annotated[
    options.Text,
    typer.Option(
        envvar="PROMPTSMOOTH_SERVER",
        help="Address of a service that certifies, like https://certify.hospital.example.",
        rich_help_panel=options.WITH_SERVER,
    ),
]
_Priority = Annotated[
    options.Text,
    typer.Option(
        metavar="[urgent|normal|batch]",
        help="Which jobs of the service go first; urgent needs a key with that scope.  "
        "(default: normal)",
        rich_help_panel=options.WITH_SERVER,
    ),
]
_CallbackUrl = Annotated[
    options.Text,
    typer.Option(
        help="Address that the service tells when the job has ended.  (default: the key's)",
        rich_help_panel=options.WITH_SERVER,
    ),
]
_Reference = Annotated[
    options.Text,
    typer.Option(
        help="What you call the image, kept with the job of the service and never logged.",
        rich_help_panel=options.WITH_SERVER,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Folder for certificates.csv and one JSON document per image; required for a "
        "folder of images.",
        rich_help_panel=options.WITH_SERVER,
    ),
]


def certify(
    image: _Image = None,
    sigma: _Sigma = None,
    model: _Model = None,
    prompting: options.PromptingOption = None,
    prompt: _Prompt = None,
    class_name: _ClassName = None,
    template: _Template = None,
    targets: _Targets = None,
    procedure: options.ProcedureOption = None,
    n_max: options.MostSamples = None,
    n_cap: _MostEver = None,
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
    continued: _Continue = None,
    witness: _Witness = False,
    as_json: options.AsJson = False,
    server: _Server = None,
    api_key_file: options.ApiKeyFile = None,
    ca: options.Authorities = None,
    priority: _Priority = None,
    callback_url: _CallbackUrl = None,
    reference: _Reference = None,
    output: _Output = None,
    joint_batch: _JointBatch = False,
    study: fetched.StudyOption = None,
    series: fetched.SeriesOption = None,
    instance: fetched.InstanceOption = None,
    source: fetched.SourceOption = None,
    data_dir: options.DataDir = None,
) -> None:
    """Certify one image in this process, or send images to a service (--server).

    Exit status: 0 if there are certificates, abstentions included; 2 if there are none; for a
    folder, 1 if some of its images have none.

    promptsmooth certify scan.dcm --sigma 0.25 --sigma 0.5

    promptsmooth certify scans/ --server https://certify.hospital.example --output certificates/

    promptsmooth certify --study 1.2.840.1 --from pacs --server URL --output certificates/

    promptsmooth certify scan.dcm --n-max 1000 --n-cap 16000 --json > first.json

    promptsmooth certify scan.dcm --n-max 1000 --n-cap 16000 --continue first.json
    """
    from app.request.certify import check_fields, parse_fields
    from app.request.limits import Limits

    with sentences(), ExitStack() as stack:
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
            n_cap=n_cap,
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
            priority=priority,
            callback_url=callback_url,
            reference=None if reference is None else [reference],
            witness="true" if witness else None,
        )
        fields = parse_fields(asked)
        before = None if continued is None else _read_certificate(continued)
        taken = fetched.Fetched(study=study, series=series, instance=instance, source=source)
        named = stack.enter_context(fetched.find_images(image, taken))
        if server is None:
            _refuse_server_options(
                *(api_key_file, ca, output, priority, callback_url, reference),
                joint_batch or None,
            )
            if named.is_dir():
                raise ValueError("several images need --server; here one is certified at a time")
            check_fields(fields, Limits())
            _certify_here(named, fields, data_dir=data_dir, as_json=as_json, before=before)
        else:
            connection = {"api_key_file": api_key_file, "ca": ca}
            if joint_batch:
                if before is not None:
                    raise ValueError("--continue goes on from one certificate, not a --joint-batch")
                _certify_batch(named, asked, server, connection, output, as_json=as_json)
            _certify_remotely(
                named, asked, server, connection, output, as_json=as_json, before=before
            )


def _read(targets: str | None) -> str | None:
    """The JSON itself, where a file was named."""
    if targets is None or not targets.startswith("@"):
        return targets
    try:
        return Path(targets[1:]).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"targets: expected JSON in UTF-8 in {targets[1:]}") from None


def _read_certificate(path: Path) -> "FinishedResult":
    from worker.contract.certificate.audit import load_document
    from worker.contract.certificate.document import parse_document

    return parse_document(load_document(path))


def _refuse_server_options(*given: Path | str | bool | None) -> None:
    if any(one is not None for one in given):
        raise ValueError(
            "--api-key-file, --ca, --priority, --callback-url, --reference, --output and "
            "--joint-batch belong to --server, which is not given"
        )


def _certify_here(
    image: Path,
    fields: "CertifyFields",
    *,
    data_dir: Path | None,
    as_json: bool,
    before: "FinishedResult | None",
) -> None:
    from app.local.certify import certify_here

    made: list[FinishedResult] = []
    found: list[FinishedWitness] = []
    try:
        certify_here(
            image,
            fields,
            data_dir=options.get_data_dir(data_dir),
            show=partial(_progress, quiet=as_json),
            say=say_note,
            before=before,
            on_signed=made.append,
            on_witness=found.append,
        )
    finally:  # a certificate is shown, however the search for a witness ends
        for result in made:
            if as_json:
                typer.echo(_join(result.model_dump_json(indent=2), found))
            else:
                _print(result, found)


def _certify_remotely(
    image: Path,
    asked: options.Fields,
    server: str,
    connection: dict[str, Path | None],
    output: Path | None,
    *,
    as_json: bool,
    before: "FinishedResult | None",
) -> None:
    from app.cli.certify_remotely import certify_folder, certify_one, open_client, read_result
    from app.cli.witness import find_remotely

    if before is not None and image.is_dir():
        raise ValueError("--continue goes on from one certificate, with its image and no folder")

    with open_client(server, **connection) as client:
        if not image.is_dir():
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
            ended = certify_one(client, image, asked, quiet=as_json, before=before)
            if output is not None:
                (output / f"{image.name}.json").write_bytes(ended.content)
            found: list[FinishedWitness] = []
            try:
                if "witness" in asked:
                    found.append(find_remotely(client, ended.id))
            finally:  # the certificate is shown, however the search ends
                if as_json:
                    typer.echo(_join(ended.content, found))
                else:
                    _print(read_result(ended), found)
            return
        if output is None:
            raise ValueError("a folder of images needs --output, the folder for its certificates")
        images, finished = certify_folder(client, image, asked, output, quiet=as_json)
    typer.echo(f"{finished} of {images} images have certificates: {output / 'certificates.csv'}")
    raise typer.Exit(0 if finished == images else 1)


def _certify_batch(
    folder: Path,
    asked: options.Fields,
    server: str,
    connection: dict[str, Path | None],
    output: Path | None,
    *,
    as_json: bool,
) -> NoReturn:
    from app.cli.certify_remotely import certify_batch, dump_joint, open_client

    if not folder.is_dir() or output is None:
        raise ValueError("--joint-batch takes a folder of images, and --output for certificates")
    with open_client(server, **connection) as client:
        images, finished, joint = certify_batch(client, folder, asked, output, quiet=as_json)
    if as_json:
        typer.echo(dump_joint(joint))
    else:
        typer.echo("".join(f"{one.statement}\n" for one in joint), nl=False)
    table = output / "certificates.csv"
    typer.echo(f"{finished} of {images} images have certificates: {table}", err=as_json)
    raise typer.Exit(0 if finished == images else 1)


def _print(result: "FinishedResult", found: "list[FinishedWitness]") -> None:
    from rich.console import Console

    from app.cli.certificate_table import print_certificates
    from app.cli.witness import print_witness

    print_certificates(result, Console())
    for one in found:
        print_witness(one)


def _join(document: str | bytes, found: "list[FinishedWitness]") -> str:
    """The document as JSON; a witness is a member beside its fields, which an audit ignores."""
    if not found:
        return document if isinstance(document, str) else document.decode()
    shown = json.loads(document)
    for one in found:
        shown["witness"] = one.model_dump(mode="json")
    return json.dumps(shown, indent=2, ensure_ascii=False)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("certifying", total=total)
        yield lambda done: progress.update(task, completed=done)
