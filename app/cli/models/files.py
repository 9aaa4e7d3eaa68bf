"""promptsmooth models add, pull, bundle, remove: the weights of this installation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import require_folder
from app.cli.terminal import ending_tidily, sentences
from models.catalogue import Catalogue, UnknownModel, load_catalogue
from models.catalogue.cards import ModelDescription, check_model_id, load_description

if TYPE_CHECKING:
    from models.installation.add import Added

ModelId = Annotated[str, typer.Argument(metavar="ID", help="Model id.")]
_LOCAL_DIR = "local-dir:"  # open_clip's prefix for a local folder


class ShippedModel(ValueError):
    """The model ships with the service and cannot be removed."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"the model {model_id!r} ships with the service and cannot be removed.")


class BundleIsWhole(ValueError):
    """An archive of `models bundle` was given together with --card or --config."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is an archive of models bundle, which includes its card and configuration; "
            "leave out --card and --config."
        )


class NoCard(ValueError):
    """No card describes the model that is to be added."""

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"there is no model {model_id!r} among the known ones (promptsmooth models list). For "
            f"one of your own, draft its card: promptsmooth models card PATH --id {model_id} > "
            f"{model_id}.toml; complete it, and add --card {model_id}.toml to this command."
        )


class OtherId(ValueError):
    """The given card belongs to another model."""

    def __init__(self, path: Path, model_id: str, asked: str) -> None:
        super().__init__(f"expected the card of {asked!r}, but {path} is the card of {model_id!r}.")


def add(
    model: ModelId,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="Published weights: a Hugging Face CLIP folder or its pytorch_model.bin (PLIP, "
            "PubMedCLIP); an open_clip folder (or local-dir:FOLDER) or checkpoint (QuiltNet); "
            "BiomedCLIP's open_clip folder, with its BERT's files; MedCLIP's zip, with vocab.txt "
            "inside or beside it; an image classifier of your own (.onnx, with --card); or an "
            "archive of models bundle.",
        ),
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Card of a model of your own; models card drafts it.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Configuration for a weights file."
        ),
    ] = None,
) -> None:
    """Add a model from files on this machine; nothing is downloaded.

    The weights are converted, checked against the card tensor by tensor, and loaded once. They are
    then written to the folder that PROMPTSMOOTH_MODELS names, with a card that names their SHA-256.
    """
    from models.installation.add import add_model
    from models.installation.archive import add_bundle, is_bundle

    with ending_tidily(), sentences():
        check_model_id(model)
        folder, source = require_folder("models"), Path(path.removeprefix(_LOCAL_DIR))
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist")
        if is_bundle(source):
            if card is not None or config is not None:
                raise BundleIsWhole(source)
            _tell(add_bundle(model, source, folder))
        else:
            _tell(add_model(_describe(model, card, folder), source, folder, config=config))


def pull(model: ModelId) -> None:
    """Download a known model from the Hugging Face Hub and add it.

    This is the only command that downloads anything. After an interruption, run it again to
    continue.
    """
    from models.installation.add import add_model
    from models.installation.folder import require_free
    from models.installation.hub import fetch

    with ending_tidily(), sentences():
        check_model_id(model)
        folder = require_folder("models")
        description = _describe(model, None, folder)
        require_free(folder, model)
        fetched = fetch(description, folder)
        added = add_model(
            description,
            fetched.folder,
            folder,
            repository=fetched.repository,
            revision=fetched.revision,
        )
        fetched.discard()
        _tell(added)


def bundle(
    model: ModelId,
    out: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Archive (.tar).")],
) -> None:
    """Write a model into one archive, for a machine without a network: models add ID FILE."""
    from models.installation.archive import write_bundle

    with ending_tidily(), sentences():
        catalogue = _load(require_folder("models"))
        write_bundle(catalogue.get(model), catalogue.folder(model), out)
        typer.echo(f"written to {out}")


def remove(
    model: ModelId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a model's card and weights from the folder of models.

    Certificates stay valid: they name the model's digest. To reproduce them, add the same weights
    again.
    """
    from models.installation.folder import remove_folder

    with sentences():
        folder = require_folder("models")
        catalogue = _load(folder)
        path = catalogue.find_own_card(model)
        if path is None:
            raise ShippedModel(model)
        size = sum(file.size_bytes for file in catalogue.get(model).files)
        question = f"Remove {path} and the weights beside it, {size / 1e6:.0f} MB?"
        if not yes and not typer.confirm(question):
            raise typer.Exit(1)
        remove_folder(folder, catalogue.get(model), path)
        typer.echo(f"removed {model}")


def _tell(added: "Added") -> None:
    for note in added.notes:
        typer.echo(note, err=True)
    typer.echo(f"added {added.card.id} at {added.folder}; digest {added.card.sha256}")
    typer.echo(
        "restart app and workers to use it; PROMPTSMOOTH_SERVE_MODELS names the models that "
        "workers load",
        err=True,
    )


def _describe(model: str, card: Path | None, folder: Path) -> ModelDescription:
    if card is None:
        return _find_description(model, folder)
    description = load_description(card)
    if description.id != model:
        raise OtherId(card, description.id, model)
    return description


def _find_description(model: str, folder: Path) -> ModelDescription:
    try:
        return _load(folder).describe(model)
    except UnknownModel as error:
        if type(error) is UnknownModel:  # not retired, and no card that is not valid
            raise NoCard(model) from None
        raise


def _load(folder: Path) -> Catalogue:
    return load_catalogue(folder if folder.is_dir() else None)
