"""promptsmooth models card: a draft of the card of a model that nobody has described."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import sentences


def draft(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Published weights: a Hugging Face CLIP folder, an open_clip folder, or a file of "
            "weights with its configuration beside it.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Its id from now on.  (default: as PATH is named)"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="config.json or open_clip_config.json, where it lies elsewhere.",
        ),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option(help="Class that images are compared with; repeatable."),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Text with {} for the class.  (default: An image of {}.)")
    ] = None,
) -> None:
    """Draft a model's card from its published configuration; you complete it.

    The card goes to standard output. Lines that only you can write say so, and without class names
    models add refuses it.

    promptsmooth models card clip-epoch-30/ --id our-vlm > our-vlm.toml

    promptsmooth models add our-vlm clip-epoch-30/ --card our-vlm.toml
    """
    from models.catalogue.cards import check_model_id
    from models.catalogue.texts import check_class_names, check_template
    from models.installation.draft import draft_card, format_draft, suggest_id

    with sentences():
        model_id = suggest_id(path) if model is None else check_model_id(model)
        names = check_class_names(tuple(class_name)) if class_name else ()
        text = None if template is None else check_template(template)
        drafted = draft_card(path, config)
        typer.echo(format_draft(drafted, model_id, class_names=names, template=text), nl=False)
