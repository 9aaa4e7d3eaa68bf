"""promptsmooth learn: a few-shot prompt from a folder of labelled images."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli.options import Device, DeviceOption
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.local.learn import Lesson, Wish, Written
    from models.learning.state import Epoch

DEFAULT_MODEL = "bundled-2"
STOPPED = 130  # what a shell shows for ctrl-C


class PresetName(StrEnum):
    """Where settings that are not given come from."""

    DEFAULT = "default"
    PAPER = "paper"


def learn(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Images as DIR/train/CLASS/FILE or DIR/CLASS/FILE; a card is optional.",
        ),
    ],
    prompt_id: Annotated[
        str, typer.Option("--id", metavar="NAME", help="Its name from now on: a-z, 0-9, . _ -")
    ],
    model: Annotated[str, typer.Option(metavar="ID", help="Model to learn for.")] = DEFAULT_MODEL,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to.  (default: PROMPTSMOOTH_PROMPTS)"),
    ] = None,
    preset: Annotated[
        PresetName, typer.Option(help="default: what worked here; paper: what PromptSmooth states.")
    ] = PresetName.DEFAULT,
    shots: Annotated[int | None, typer.Option(min=1, help="Images per class.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Learning rate.")] = None,
    noise_level: Annotated[
        list[float] | None,
        typer.Option(help="A sigma to draw from, pixels in [0, 1]; 0 is clean; repeatable."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Chooses images, order, crops and noise.")
    ] = None,
    ctx_init: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words that the vectors start as.")
    ] = None,
    n_ctx: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Start from N random vectors alone.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Text with {} for the class.  (default: the folder's, then the model's)"),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option(help="A class, in order of the folders; repeatable.  (default: the card's)"),
    ] = None,
    description: Annotated[str, typer.Option(help="For the prompt's card.")] = "",
    licence: Annotated[str, typer.Option(help="For the prompt's card.")] = "",
    device: DeviceOption = None,
) -> None:
    """Learn a prompt from a few noisy images of each class; both towers of the model stay frozen.

    Writes NAME.toml and NAME.safetensors. Ctrl-C leaves NAME.checkpoint beside them, from which the
    same command goes on to the same prompt, bit for bit. The same command gives the same prompt on
    the same device and number of threads.
    """
    from app.local.learn import Wish

    with sentences():
        if ctx_init is not None and n_ctx is not None:
            raise ValueError("Expected either --ctx-init or --n-ctx, got both.")
        given = {
            "shots": shots,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "noise_levels": tuple(noise_level) if noise_level else None,
            "seed": seed,
            "ctx_init": ctx_init,
            "n_ctx": n_ctx,
        }
        changes: dict[str, object] = {k: v for k, v in given.items() if v is not None}
        wish = Wish(
            data=data,
            prompt_id=prompt_id,
            out=_choose_out(out),
            preset=preset.value,
            template=template,
            class_names=tuple(class_name) if class_name else None,
            changes=changes | ({"ctx_init": None} if n_ctx else {}),
            description=description,
            licence=licence,
        )
        _learn(wish, model, device)


def _choose_out(given: Path | None) -> Path:
    from worker.settings import SharedSettings

    folder = given or SharedSettings().prompts
    if folder is None:
        raise ValueError("Name the folder to write to with --out, or set PROMPTSMOOTH_PROMPTS.")
    return folder


def _learn(wish: "Wish", model: str, device: Device | None) -> None:
    from app.local.engine import find_model
    from app.local.learn import learn, prepare_lesson
    from worker.engine.runner.machine import choose_device, set_threads
    from worker.settings import WorkerSettings

    settings = WorkerSettings()
    set_threads(settings.threads)
    card, weights = find_model(model)
    lesson = prepare_lesson(wish, card)
    if left_out := lesson.folder.left_out:
        typer.echo(f"left out: {left_out} files such as Thumbs.db or README", err=True)
    for sentence in lesson.unusable:
        typer.echo(f"replaced: {sentence}", err=True)
    chosen = choose_device(device.value if device else settings.device)
    with _progress(lesson.settings.epochs) as show:
        try:
            written = learn(
                lesson, card, weights, chosen, on_epoch=show, now=lambda: datetime.now(UTC)
            )
        except KeyboardInterrupt:
            _stop(wish)
    _tell(lesson, written)


def _tell(lesson: "Lesson", written: "Written") -> None:
    """The prompt, what it is worth so far, and the command that says more."""
    typer.echo(f"written: {written.path}")
    if (held_out := written.held_out) is None:
        typer.echo("held out: no image was left over, so nothing is known yet of others")
    else:
        prompt, template = held_out.prompt, held_out.template
        typer.echo(
            f"held out: right on {prompt.right} of {prompt.images} images that were left over, "
            f"without noise; the template on {template.right}"
        )
    typer.echo(f"next: {shlex.join(_suggest(lesson, written.path))}")


def _suggest(lesson: "Lesson", card: Path) -> list[str]:
    """The evaluation that compares the prompt with the template on images of the test part."""
    wish = lesson.wish
    data = wish.data if (wish.data / "test").is_dir() else "OTHER-IMAGES"
    model = [] if lesson.model == DEFAULT_MODEL else ["--model", lesson.model]
    promptings = ["--prompting", "template", "--prompting", "few-shot"]
    return [
        "promptsmooth",
        "evaluate",
        "--data",
        str(data),
        *model,
        "--prompt",
        str(card),
        *promptings,
    ]


def _stop(wish: "Wish") -> NoReturn:
    kept = wish.checkpoint.exists()
    went = f"{wish.checkpoint} is kept; the same command goes on" if kept else "nothing was written"
    typer.echo(f"stopped: {went}", err=True)
    raise typer.Exit(STOPPED)


@contextmanager
def _progress(epochs: int) -> Iterator[Callable[["Epoch"], None]]:
    """A bar and a line for each epoch, on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("learning", total=epochs)

        def show(epoch: "Epoch") -> None:
            progress.console.print(
                f"epoch {epoch.number}/{epochs}  loss {epoch.loss:.4f}  "
                f"accuracy {epoch.accuracy:.3f}  {epoch.seconds:.1f} s"
            )
            progress.update(task, completed=epoch.number)

        yield show
