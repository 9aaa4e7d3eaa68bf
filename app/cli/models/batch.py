"""promptsmooth models choose-batch: choose a model's batch shape for this device."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DeviceOption
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from worker.engine.measure.batch_choice import BatchChoice


class NoShapeKeepsRowsApart(ValueError):
    """At every shape tried, a row's features depend on its place or on its neighbours."""

    def __init__(self) -> None:
        super().__init__(
            "no batch shape tried keeps rows independent bit for bit, so none is chosen; run "
            "promptsmooth models measure-eta to see how far logits move and which tau that needs"
        )


def choose_batch(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model id.")],
    device: DeviceOption = None,
    rows: Annotated[
        list[int] | None,
        typer.Option(min=1, help="A shape to try; repeatable. Default: some for the device."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each shape is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.0, help="Seconds per shape and round.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Write the shape to the model's card.")
    ] = False,
) -> None:
    """Measure the image encoder at several batch shapes, and choose one for this device class.

    The choice is the smallest shape within 3 % of the fastest, among those at which a row's
    features depend neither on its place nor on its neighbours. The shape is part of the classifier:
    with a different shape, certificates name a different model, and its tau must be measured again.
    """
    from models.catalogue import load_catalogue
    from models.catalogue.measured import write_own
    from worker.engine.measure.batch_choice import SHAPES, BatchChoice, choose_rows, measure_shapes
    from worker.engine.runner.machine import choose_device, set_threads
    from worker.engine.shelf.identity import create_identity
    from worker.engine.shelf.runtime import load_served, read_runtime
    from worker.settings import WorkerSettings

    with sentences():
        settings = WorkerSettings()
        set_threads(settings.threads)
        catalogue = load_catalogue(settings.models)
        card, folder = catalogue.get(model), catalogue.folder(model)
        chosen = choose_device(device.value if device else settings.device)
        vlm = load_served(card, folder, chosen, read_runtime(settings))
        shapes = rows or SHAPES[chosen.type]
        tried = measure_shapes(vlm, sorted(set(shapes)), rounds=rounds, seconds=seconds)
        identity = create_identity(vlm)
        report = BatchChoice(
            model=card.id,
            device=identity.device,
            precision=identity.precision,
            threads=identity.threads,
            tried=tried,
            rows=choose_rows(tried),
        )
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            _print(report, identity.batch_size)
        if report.rows is None:
            raise NoShapeKeepsRowsApart
        if write:
            where = identity.device_class
            written = write_own(catalogue, model, "batch_size", where, report.rows)
            typer.echo(
                f"written to {written}; restart running engines and measure tau again "
                f"(promptsmooth models measure-eta {model})",
                err=True,
            )


def _print(report: "BatchChoice", now: int) -> None:
    typer.echo(f"model {report.model}, {report.device}, {report.precision}, card: {now} rows")
    for one in report.tried:
        note = "" if one.rows_apart else ", rows depend on each other"
        typer.echo(f"  {one.rows:5} rows  {one.samples_per_s:10.1f} samples/s{note}")
    if report.rows is not None:
        typer.echo(f"chosen: {report.rows} rows")
