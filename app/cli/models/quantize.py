"""promptsmooth models quantize: a model's image tower in int8, for CPUs."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import sentences


def quantize(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model id of the parent.")],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Images of use, DIR/train/CLASS/FILE or DIR/CLASS/FILE."),
    ],
    sigma: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=2.0, help="Noise level of use; repeatable."),
    ] = None,
    images: Annotated[int, typer.Option(min=8, help="How many images, at most.")] = 256,
    new_id: Annotated[
        str | None, typer.Option("--as", metavar="NEW", help="Id of the result: ID-int8.")
    ] = None,
) -> None:
    """Make a model whose image tower computes in int8 on a CPU, by OpenVINO.

    It is another classifier, with a card and a digest of its own that name the parent. What int8
    loses depends on images and noise: promptsmooth models check NEW --data DIR compares both. Needs
    the extra quantize (NNCF), which reports nothing to anybody.
    """
    from models.catalogue import load_catalogue
    from models.datasets.image_folder import list_images
    from models.installation.quantize import quantize_model
    from worker.settings import SharedSettings

    with sentences():
        folder = SharedSettings().models
        if folder is None:
            raise typer.BadParameter("PROMPTSMOOTH_MODELS names no folder for the result")
        catalogue = load_catalogue(folder if folder.exists() else None)
        card, found = catalogue.get(model), list_images(data, "train")
        made = quantize_model(
            card,
            catalogue.folder(model),
            folder,
            model_id=new_id or f"{model}-int8",
            images=found.load(found.spread(images), card.preprocessing),
            sigmas=sigma or [0.25, 0.5],
        )
    typer.echo(f"{made.id} {made.sha256} in {folder / made.id}")
