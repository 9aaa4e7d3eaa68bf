"""promptsmooth evaluate: certified accuracy of a folder of labelled images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.options import (
    AlphaOption,
    ApiKeyFile,
    Authorities,
    BoundSamples,
    DataDir,
    Fields,
    MostSamples,
    ProcedureOption,
    PromptingOption,
    SelectionSamples,
    ToleranceOption,
    get_data_dir,
    said,
)
from app.cli.terminal import say_note, sentences

if TYPE_CHECKING:
    from app.cli.remote.evaluation import FinishedRun, RemoteEvaluation
    from app.local.evaluation_options import EvaluationOptions
    from worker.evaluation.results import EvaluationResults
    from worker.evaluation.run_file import EvaluationProgress

_SIGMAS = ["0.1", "0.25", "0.5", "1.0"]


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, help="Folder <train|test>/<class folder>/<image>."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Card of the classes: kather-colon, pannuke, sicapv2, skincancer, covid or rsna18."
            "  (default: the folder's card.json, else its class folders)"
        ),
    ] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which part.")] = "test",
    model: Annotated[str, typer.Option(help="Model id.")] = "bundled-2",
    prompting: PromptingOption = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|ID", help="A learned prompt: its card (.toml), id or digest; repeatable."
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Text with {} for the class.  (default: the dataset's or model's)"),
    ] = None,
    sigma: Annotated[
        list[str] | None,
        typer.Option(help="Noise level; repeatable.  (default: 0.1, 0.25, 0.5 and 1.0)"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[denoised|noise-trained]",
            help="Repeatable. Judges the model MODEL-BASELINE-SIGMA of "
            "each noise level, which benchmarks/accuracy/baselines.py trains, on the same images "
            "and noise.",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="Number of images, taken from the classes in turn.")
    ] = 500,
    seed: Annotated[int, typer.Option(help="Which images.")] = 3,
    procedure: ProcedureOption = None,
    n_max: MostSamples = None,
    tolerance: ToleranceOption = None,
    n: BoundSamples = None,
    n0: SelectionSamples = None,
    alpha: AlphaOption = None,
    radius: Annotated[
        list[str] | None,
        typer.Option(help="Column of the table; repeatable.  (default: the paper's, 0 to 2.5)"),
    ] = None,
    concurrent: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Images certified at the same time; changes no result.  (default: 8; with "
            "--server as many as the service has room for)",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.  (default: evaluation-DATASET-MODEL here)"),
    ] = None,
    witness: Annotated[
        int,
        typer.Option(
            min=0,
            help="Images, from the first, to attack, with --server by the service: adds R_attack / "
            "R_certified.",
        ),
    ] = 0,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Has a service certify the images, on all its hosts."),
    ] = None,
    api_key_file: ApiKeyFile = None,
    ca: Authorities = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar, no table.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Certified accuracy at each radius, of several promptings on the same images and noise.

    Every image is certified as a real one is. Writes results.json, .csv, .md, .tex and plot.svg,
    .png into the folder of the run, and every image's certificates into images.jsonl there. The
    secret of the run's noise is in the data folder, so the folder may be published. An interrupted
    run continues where it stopped when it is started again with the same arguments. Certified
    accuracy counts the images that are predicted correctly with at least that radius, among all
    images: an abstention counts as wrong. If the template is among the promptings, every other row
    is compared with it image by image. A file that cannot be decoded is skipped: it is named on
    standard error and in results.json, and no row counts it.

    With --server every image is a certification of that service, in its lowest priority, and the
    learned prompts that it lacks are sent first. Nothing is drawn here, so its key secret decides
    the noise. Columns without noise are measured here, where the model is installed.
    """
    from worker.processes.scheduling import wait_passively

    wait_passively()
    from app.local.evaluation_options import (
        EvaluationOptions,
        count_junk,
        parse_baselines,
        parse_radii,
    )
    from worker.evaluation.results import PUBLISHED_RADII
    from worker.evaluation.written import write_results

    with sentences():
        _refuse_options(server, api_key_file, ca, baseline)
        radii = parse_radii(radius) if radius else PUBLISHED_RADII
        options = EvaluationOptions(
            data=data,
            dataset=dataset,
            split=split,
            model=model,
            prompts=tuple(prompt or ()),
            baselines=parse_baselines(baseline or ()),
            asked=said(
                sigma=sigma or _SIGMAS,
                prompting=prompting,
                template=template,
                procedure=procedure,
                n_max=n_max,
                tolerance=tolerance,
                n=n,
                n0=n0,
                alpha=alpha,
            ),
            images=images,
            seed=seed,
            concurrent=concurrent,
            out=out,
            data_dir=get_data_dir(data_dir),
            attacked=witness,
        )
        _report_junk(count_junk(options))
        if server is None:
            folder, results = _evaluate_here(options, radii, quiet=quiet)
        else:
            connection = {"api_key_file": api_key_file, "ca": ca}
            folder, results = _evaluate_there(options, radii, server, connection, quiet=quiet)
        write_results(results, folder, written=datetime.now(UTC).date())
    _report_skipped(results)
    if not quiet:
        from app.cli.evaluation_tables import print_results

        print_results(results)
        typer.echo(f"written to {folder}")


def _refuse_options(
    server: str | None,
    api_key_file: Path | None,
    ca: Path | None,
    baseline: list[str] | None,
) -> None:
    """Raises ValueError for options that belong to the other way of certifying."""
    if server is None and (api_key_file or ca):
        raise ValueError("--api-key-file and --ca belong to --server, which is not given")
    if server is not None and baseline:
        raise ValueError(
            "--baseline needs one machine: a baseline is judged on the noise of the run, and a "
            "service draws other noise for every model. Leave --server out where both models are "
            "installed, or evaluate the baseline by itself with --model"
        )


def _evaluate_here(
    options: "EvaluationOptions", radii: "Sequence[Decimal]", *, quiet: bool
) -> "tuple[Path, EvaluationResults]":
    from app.local.evaluate import create_evaluation
    from worker.evaluation.evaluate import evaluate as certify_all

    asked = create_evaluation(options)
    with _progress(len(asked.files), quiet=quiet) as show:
        return asked.folder, certify_all(asked, radii=radii, on_progress=show)


def _evaluate_there(
    options: "EvaluationOptions",
    radii: "Sequence[Decimal]",
    server: str,
    connection: Fields,
    *,
    quiet: bool,
) -> "tuple[Path, EvaluationResults]":
    import asyncio

    from app.cli.certify_remotely import read_connection
    from app.cli.remote.evaluation import check_needs, create_remote, summarise
    from app.cli.remote.sitting import PATIENCE_S, run_remotely
    from app.client import AsyncClient
    from worker.settings import SharedSettings

    reached = read_connection(**connection)

    async def run() -> "tuple[RemoteEvaluation, FinishedRun]":
        async with AsyncClient(server, **reached) as client:
            asked = await create_remote(options, client, prompts=SharedSettings().prompts)
            say_note(f"it takes {await check_needs(client, asked)}")
        async with AsyncClient(server, **reached, patience_s=PATIENCE_S) as client:
            with _progress(len(asked.files), quiet=quiet) as show:
                return asked, await run_remotely(client, asked, show)

    asked, finished = asyncio.run(run())
    results, notes = summarise(asked, finished, radii)
    for note in notes:
        say_note(note)
    return asked.folder, results


def _report_junk(count: int) -> None:
    if count:
        typer.echo(f"left out: {count} files such as Thumbs.db or README", err=True)


def _report_skipped(results: "EvaluationResults") -> None:
    """Names the images that were left out, on the user's own terminal."""
    for image in results.skipped:
        typer.echo(f"skipped {image.file}: {image.why_not}", err=True)


@contextmanager
def _progress(images: int, *, quiet: bool) -> Iterator[Callable[["EvaluationProgress"], None]]:
    """A bar of finished images on standard error, with samples a second and the time left."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = TextColumn("{task.fields[rate]:,.0f} samples/s, time left")
    began = time.monotonic()
    with Progress(
        *columns, rate, TimeLeft(), console=Console(stderr=True), disable=quiet
    ) as progress:
        task = progress.add_task("evaluating", total=images, rate=0.0)

        def show(done: "EvaluationProgress") -> None:
            rate = done.samples / max(time.monotonic() - began, 1e-3)
            progress.update(task, completed=done.images, rate=rate)

        yield show
