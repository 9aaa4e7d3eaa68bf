"""promptsmooth prompts: the learned prompts on this machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import require_folder
from app.cli.terminal import sentences
from models.prompts.catalogue import PromptCatalogue, load_prompt_catalogue

if TYPE_CHECKING:
    from models.prompts.cards import PromptCard

prompts_cli = typer.Typer(
    name="prompts",
    help="The learned prompts on this machine: those that ship, and those in the folder that "
    "PROMPTSMOOTH_PROMPTS names. Worker hosts put both into Redis when they start; a service that "
    "runs takes more of them by POST /prompts.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="ID", help="Id or digest of a prompt.")]


class ShippedPrompt(ValueError):
    """The prompt came with the service, so it is not the installation's to remove."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(f"the prompt {prompt_id!r} ships with the service and stays.")


@prompts_cli.command(name="list")
def list_prompts(
    model: Annotated[str | None, typer.Option(metavar="ID", help="Only those of a model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the prompts: their models, how they were made, and their class names."""
    import json

    with sentences():
        entries = _load_catalogue().list()
    cards = [entry.card for entry in entries if model in (None, entry.card.model)]
    if as_json:
        shown = [card.model_dump(mode="json", include=_LISTED) for card in cards]
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        for card in cards:
            _print_card(card)


_LISTED = {
    *("id", "model", "method", "n_ctx", "width", "class_names", "template", "sha256"),
    *("created_at", "description", "licence", "source"),
}


def _print_card(card: "PromptCard") -> None:
    """Three lines, of which the last may take more: no terminal is too narrow for them."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    made = f"{card.model}, {card.method}, {card.n_ctx} x {card.width}, {card.sha256[:16]}"
    console = Console()
    console.print(Text(card.id, style="bold"))
    for line in (made, ", ".join(card.class_names)):
        console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 2), expand=False))


@prompts_cli.command()
def show(name: Name) -> None:
    """Show a prompt's card, after comparing its vectors with the digest in it."""
    from models.prompts.files import format_card

    with sentences():
        card, _ = _load_catalogue().get(name).load()
        typer.echo(format_card(card), nl=False)


@prompts_cli.command(name="import")
def import_prompt(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="Checkpoint, bare tensor (.pt) or safetensors."
        ),
    ],
    model: Annotated[str, typer.Option(metavar="ID", help="Model it was learned for.")],
    prompt_id: Annotated[
        str, typer.Option("--id", metavar="NAME", help="Its name from now on: a-z, 0-9, . _ -")
    ],
    class_name: Annotated[
        list[str], typer.Option(help="Class name; repeat it, in the order of the classes.")
    ],
    suffix: Annotated[str, typer.Option(help="What follows the class name.")] = ".",
    licence: Annotated[str, typer.Option(help="Licence of the vectors.")] = "",
    source: Annotated[str, typer.Option(help="Where they come from.")] = "",
) -> None:
    """Import context vectors that were learned elsewhere into the folder of prompts.

    Taken are the published few-shot checkpoints (model.pth.tar-50), bare tensors that torch saved,
    and safetensors with one tensor ctx. They say nothing of classes, so class names are asked for.
    A file that holds anything but tensors and plain values is refused: no code in it is run.
    """
    from models.catalogue import load_catalogue
    from models.catalogue.text_width import find_text_width
    from models.learning.checkpoint import load_ctx
    from models.prompts.files import save_prompt
    from models.prompts.imported import create_import
    from worker.settings import SharedSettings

    with sentences():
        folder = require_folder("prompts")
        models = load_catalogue(SharedSettings().models)
        card, prompt = create_import(
            load_ctx(file, num_classes=len(class_name)),
            prompt_id=prompt_id,
            model=models.get(model),
            text_width=find_text_width(models.get(model), models.folder(model)),
            class_names=class_name,
            suffix=suffix,
            created_at=datetime.now(UTC),
            licence=licence,
            source=source,
        )
        _refuse_shipped(card.id)
        path = save_prompt(folder, card, prompt)
        typer.echo(f"written to {path}; digest {card.sha256}")
        typer.echo("hosts that run take it at their next start, or now by POST /prompts", err=True)


@prompts_cli.command(name="export")
def export_prompt(
    name: Name,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write to.")],
) -> None:
    """Write a prompt's two files, ID.toml and ID.safetensors, into a folder.

    Put into another installation's folder of prompts they are a prompt there.
    """
    from models.prompts.files import save_prompt

    with sentences():
        card, prompt = _load_catalogue().get(name).load()
        typer.echo(f"written to {save_prompt(folder, card, prompt)}")


@prompts_cli.command(name="remove")
def remove_prompt(name: Name) -> None:
    """Remove a prompt's two files from the folder of prompts.

    A prompt that hosts have put into Redis stays there until DELETE /prompts/ID. Certificates stay
    valid: they name the prompt's digest.
    """
    from models.prompts.files import remove_files

    with sentences():
        entry = _load_catalogue().get(name)
        _refuse_shipped(entry.card.id)
        remove_files(entry.path)
        typer.echo(f"removed {entry.card.id}")


def _load_catalogue() -> PromptCatalogue:
    from worker.settings import SharedSettings

    return load_prompt_catalogue(SharedSettings().prompts)


def _refuse_shipped(prompt_id: str) -> None:
    if prompt_id in load_prompt_catalogue().entries:
        raise ShippedPrompt(prompt_id)
