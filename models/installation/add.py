"""Adds published weights to this installation as a model, without downloading anything."""

from dataclasses import dataclass
from pathlib import Path

from models.catalogue import load_catalogue
from models.catalogue.cards import Activation, ModelCard, ModelDescription, Origin
from models.forms.files import load_json
from models.forms.form import Converted, Form, PublishedFiles
from models.forms.registry import choose_form
from models.installation.folder import CARD, begin_folder, describe_file, format_model_card
from models.installation.trial import try_added
from models.loading.loading import CONFIG


@dataclass(frozen=True, kw_only=True)
class Added:
    """A model that was added, and notes for the user."""

    card: ModelCard
    folder: Path
    notes: tuple[str, ...] = ()


def add_model(
    description: ModelDescription,
    path: Path,
    models: Path,
    *,
    config: Path | None = None,
    repository: str = "",
    revision: str = "",
) -> Added:
    """Converts published weights into `<models>/<id>/`, with a card that names their digests.

    The result is loaded once, with the same strict checks as in an engine, before it is kept. After
    an error, the models folder is unchanged.

    Args:
        description: the model that the weights should be.
        path: a folder or file in one of the forms.
        models: the installation's models folder, which is created if it does not exist.
        config: the configuration of a bare weights file.
        repository, revision: where the files were downloaded on the Hub, for the card.

    Raises:
        FormRefused: the weights have no known form.
        WeightsError: the weights are not those of the description.
        ModelTaken: the id already has a folder.
        InvalidCard: the id belongs to a model that ships or is elsewhere in the folder.
    """
    source = PublishedFiles(path=path, config=config, description=description)
    form = choose_form(source)
    with begin_folder(models, description.id) as folder:
        converted = form.convert(source, folder)
        origin = _create_origin(form, converted, repository, revision)
        card = _create_card(description, folder, origin)
        load_catalogue(models).check_addition(card, folder / CARD)
        try_added(card, folder)
        (folder / CARD).write_text(format_model_card(card), encoding="utf-8")
    return Added(card=card, folder=models / card.id, notes=converted.notes)


def _create_origin(form: Form, converted: Converted, repository: str, revision: str) -> Origin:
    files = tuple(describe_file(path) for path in converted.read)
    return Origin(form=form.name, files=files, repository=repository, revision=revision)


def _create_card(description: ModelDescription, folder: Path, origin: Origin) -> ModelCard:
    files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
    fields = description.model_dump(exclude={"files", "origin"})
    card = ModelCard(**fields, files=files, origin=origin)
    if card.activation is None and (folder / CONFIG).is_file():
        return card.model_copy(update={"activation": _find_activation(folder)})
    return card


def _find_activation(folder: Path) -> Activation:
    quick = load_json(folder / CONFIG)["model_cfg"].get("quick_gelu", False)
    return "quick_gelu" if quick else "gelu"
