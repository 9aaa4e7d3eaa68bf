"""promptsmooth models: lists the models, and measures how far their logits move between runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.models import files
from app.cli.models.batch import choose_batch
from app.cli.models.card import draft
from app.cli.models.check import check, describe_tau
from app.cli.models.quantize import quantize
from app.cli.options import DeviceOption
from app.cli.terminal import sentences
from models.catalogue import Catalogue, load_catalogue
from models.catalogue.availability import judge_presence
from models.catalogue.cards import ModelCard
from models.catalogue.measured import write_own

if TYPE_CHECKING:
    from worker.engine.measure.eta import EtaReport

models_cli = typer.Typer(
    name="models",
    help="The models of this installation: those that ship with it, known ones whose weights "
    "you provide, and those in the folder that PROMPTSMOOTH_MODELS names.",
    no_args_is_help=True,
)
models_cli.command()(files.add)
models_cli.command(name="card")(draft)
models_cli.command()(files.pull)
models_cli.command()(files.bundle)
models_cli.command()(files.remove)
models_cli.command()(check)
models_cli.command(name="choose-batch")(choose_batch)
models_cli.command()(quantize)


@models_cli.command(name="list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the models, whether their files are present, and their licences.

    Files are judged by presence and length. Loading a model also compares digests.
    """
    import json

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from worker.settings import SharedSettings

    with sentences():
        folder = SharedSettings().models
        absent = folder is not None and not folder.exists()
        catalogue = load_catalogue(None if absent else folder)
    rows = list(_list_rows(catalogue))
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table()
    for column in ("id", "name", "files", "licence"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in ("id", "name", "files", "licence")))
    Console().print(table)
    for row in rows:
        if row["reason"]:
            typer.echo(f"{row['id']}: {row['reason']}")
    if absent:
        typer.echo(f"{folder} does not exist yet; promptsmooth models add creates it.")


def _list_rows(catalogue: Catalogue) -> Iterator[dict[str, str]]:
    """What is listed of each model: an empty digest where it was not added, and why not."""
    for card in sorted((*catalogue.list(), *catalogue.list_not_added()), key=lambda card: card.id):
        presence = judge_presence(catalogue, card.id)
        yield {
            "id": card.id,
            "name": card.name,
            "files": presence.word,
            "licence": card.licence,
            "sha256": card.sha256 if isinstance(card, ModelCard) else "",
            "reason": presence.reason or "",
        }
    for model_id, error in sorted(catalogue.invalid.items()):
        empty = {"name": "", "licence": "", "sha256": ""}
        yield {"id": model_id, "files": "not valid", "reason": str(error), **empty}


@models_cli.command(name="measure-eta")
def measure_eta(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model id.")],
    device: DeviceOption = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches at each noise level.")] = 2,
    image: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Further image to measure on; repeatable."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write what f computes here to a file."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="What --save wrote on a host with another fingerprint; repeatable. Eta is then "
            "between the hosts, and with --write they may share certifications.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write tau to the model's card.")] = False,
) -> None:
    """Measure how far a model's logits can move between runs of the same noisy images.

    Runs are repeated with rows in another order, with other padding and other neighbours, in a
    fresh process, and on every device of the same name. Image features are compared, so that eta
    bounds the movement of the logits for every prompt. Samples whose top two logits are closer than
    tau are counted as ambiguous. Tau is twice eta times a margin of 2. It is measured on these
    images, not proved.
    """
    from app.local.eta import measure_model
    from worker.engine.shelf.runtime import read_runtime
    from worker.settings import WorkerSettings

    with sentences():
        settings = WorkerSettings()
        catalogue = load_catalogue(settings.models)
        report = measure_model(
            catalogue.get(model),
            catalogue.folder(model),
            device=device.value if device else settings.device,
            threads=settings.threads,
            runtime=read_runtime(settings),
            images=[path.read_bytes() for path in image or ()],
            each=batches,
            save=save,
            against=against or (),
        )
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            _print_report(report)
        if write:
            seen = report.identity
            if against:
                write_own(catalogue, seen.model.id, "alike", seen.device_class, report.covered)
            written = write_own(catalogue, seen.model.id, "tau", seen.device_class, report.tau)
            typer.echo(f"written to {written}; restart running engines", err=True)


def _print_report(report: "EtaReport") -> None:
    identity = report.identity
    typer.echo(
        f"model {identity.model.id}, {identity.device}, {identity.precision}, batches of "
        f"{identity.batch_size}, {report.samples} noisy images"
    )
    for variation, difference in report.differences.items():
        typer.echo(
            f"  {variation.value:<11} image features move a logit by {difference:.3g} at most"
        )
    typer.echo(f"  text features, between processes and devices: {report.text_difference:.3g}")
    typer.echo(f"  rounding of sums in float32: {report.rounding:.3g}")
    typer.echo(f"eta = {report.eta!r} between any two runs, any prompt: measured, not proved")
    stated = describe_tau(identity.tau)
    typer.echo(f"tau = {report.tau!r} = 2 x eta x margin {report.margin:g}; card: {stated}")
    typer.echo(f"fingerprints covered: {', '.join(report.covered) or 'none'}")
    for sigma, share in report.ambiguous.items():
        typer.echo(f"  ambiguous at sigma {sigma}: {100 * share:.3g} % of samples")
