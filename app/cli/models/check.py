"""promptsmooth models check: whether a model is sound, and what it costs on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DeviceOption
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.local.model_check import CheckReport, InstalledModel
    from models.catalogue import Catalogue


def check(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model id.")],
    device: DeviceOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Labelled images, DIR/test/CLASS/FILE or DIR/CLASS/FILE: count how many the model "
            "classifies correctly with its activation and with the other one.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a model: digests, names and shapes of its tensors, activation, memory, speed.

    The model is loaded as an engine loads it, and certifies one synthetic image. No tensor shows
    whether a model uses quick GELU or GELU. So the check reports how far features move with the
    other activation and, with --data, which of the two classifies more images correctly.
    """
    from app.local.model_check import check_model
    from models.catalogue import load_catalogue
    from models.datasets.image_folder import list_images
    from worker.engine.shelf.runtime import read_runtime
    from worker.settings import WorkerSettings

    with sentences():
        settings = WorkerSettings()
        catalogue = load_catalogue(settings.models)
        report = check_model(
            catalogue.get(model),
            catalogue.folder(model),
            device=device.value if device else settings.device,
            threads=settings.threads,
            runtime=read_runtime(settings),
            images=list_images(data, "test") if data is not None else None,
            parent=_find_parent(catalogue, model),
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report)


def _find_parent(catalogue: "Catalogue", model: str) -> "InstalledModel | None":
    made = catalogue.get(model).quantization
    return None if made is None else (catalogue.get(made.parent), catalogue.folder(made.parent))


def _print(report: "CheckReport") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in _list_rows(report):
        table.add_row(*row)
    Console().print(table)


def _list_rows(report: "CheckReport") -> Iterator[tuple[str, str]]:
    yield "model", report.model
    yield "digest", report.sha256
    yield "device", f"{report.device}, {report.precision}, {report.threads} threads"
    yield "tau", describe_tau(report.tau)
    yield "files", "every SHA-256 is that of the card"
    yield "tensors", f"{report.tensors}, {report.parameters:,} numbers; names and shapes fit"
    yield "memory", _describe_memory(report)
    if report.activation is not None:
        pair = report.activation
        yield (
            "activation",
            (
                f"{pair.declared}, as the card says. Under {pair.other} features of unit length "
                f"move by up to {pair.images_moved:.4f} (images) and {pair.texts_moved:.4f} (texts)"
            ),
        )
    if report.accuracy is not None:
        shown = f"{report.accuracy.declared:.4f} of {report.accuracy.images} images without noise"
        if report.accuracy.other is not None:
            shown += f"; {report.accuracy.other:.4f} under the other activation"
        yield "accuracy", shown
    if report.beside_parent is not None:
        for judged in (report.beside_parent.quantized, report.beside_parent.parent):
            shares = ", ".join(f"{v:.4f} at {k}" for k, v in judged.certified_accuracy.items())
            yield (
                judged.model,
                f"{judged.precision}: certified accuracy of {report.beside_parent.images} images "
                f"{shares}; {judged.images_per_s:.1f} images/s",
            )
    speed = report.speed
    yield (
        "speed",
        (
            f"{speed.images_per_s:.1f} images/s in batches of {speed.batch_size}; loaded in "
            f"{speed.load_s:.1f} s, first batch {speed.warm_up_s:.1f} s"
        ),
    )
    one = report.certification
    yield (
        "certification",
        (
            f"of a synthetic image at sigma {one.sigma}: {one.outcome}, {one.samples} samples, "
            f"{one.seconds:.1f} s"
        ),
    )


def describe_tau(tau: float | None) -> str:
    """Tau in words: zero is only ever a measured zero."""
    if tau is None:
        return "not measured (promptsmooth models measure-eta)"
    return f"{tau!r}, measured"


def _describe_memory(report: "CheckReport") -> str:
    weights = f"weights of {report.memory.weights_bytes / 1e6:.1f} MB"
    if report.memory.kind == "unmeasured":
        return f"{weights}; this system does not report the memory of a process"
    grown = report.memory.growth_bytes / 1e6
    return f"{grown:.1f} MB for {weights}: {report.memory.ratio:.2f} times"
