"""One prompt learned in this process from a folder: what `promptsmooth learn` does."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from app.local.held_out import HeldOut, measure_held_out
from models.catalogue.cards import ModelCard
from models.catalogue.text_width import explain_no_context
from models.catalogue.texts import check_new_class_names
from models.datasets.image_folder import ImageFolder, UnusableImage, list_images
from models.datasets.training_images import Shots, TrainingImages
from models.files.whole_file import write_whole
from models.learning.card import create_learned_card
from models.learning.few_shot import learn_prompt
from models.learning.state import CheckpointUnusable, Epoch
from models.loading.loading import load_vlm
from models.prompts.cards import PROMPT_ID
from models.prompts.files import save_prompt
from models.prompts.learning_settings import LearningSettings, Preset, create_learning_settings
from models.vlm.base_classifier import (
    BaseClassifier,
    create_base_classifier,
    create_prompted_classifier,
)
from models.vlm.vlm import VLM
from worker.prepare import get_bounds
from worker.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to learn and from what. A value that is None or not in `changes` has its default.

    `changes` are the fields of `LearningSettings` that differ from the preset.
    """

    data: Path
    prompt_id: str
    out: Path
    preset: Preset
    template: str | None = None
    class_names: tuple[str, ...] | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    description: str = ""
    licence: str = ""

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished learning is kept."""
        return self.out / f"{self.prompt_id}.checkpoint"

    @property
    def card_path(self) -> Path:
        """Where the prompt's card will be."""
        return self.out / f"{self.prompt_id}.toml"


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Everything that is decided before the first epoch.

    `unusable` says of each image that others replaced which file it is, and why.
    """

    wish: Wish
    model: str
    folder: ImageFolder
    images: TrainingImages
    chosen: npt.NDArray[np.intp]
    class_names: tuple[str, ...]
    template: str
    settings: LearningSettings
    unusable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """A learned prompt on disk: its card, and what it is worth on the images left over, if any."""

    path: Path
    held_out: HeldOut | None


def prepare_lesson(wish: Wish, card: ModelCard) -> Lesson:
    """Reads the images that were chosen for this model, and settles names and settings.

    Others of the same class replace images that cannot be used.

    Raises:
        ValueError: a name that is taken or no name, a folder, an image, class names, a template or
            a setting that cannot be used.
    """
    _check_id(wish)
    if not card.has_texts:
        raise ValueError(f"Expected {explain_no_context(card)}.")
    folder = list_images(wish.data, "train")
    class_names = _find_class_names(wish, folder)
    template = wish.template or (folder.card.prompt_template if folder.card else card.template)
    settings = replace(create_learning_settings(wish.preset, template), **wish.changes)  # type: ignore[arg-type]  # pydantic checks
    shots = Shots(folder.classes, settings.shots, settings.seed, folder.class_folders)
    try:
        pixels = folder.load_shots(shots, card.preprocessing, get_bounds(WorkerSettings()))
    except UnusableImage as error:
        raise ValueError(_name_file(error)) from error
    return Lesson(
        wish=wish,
        model=card.id,
        folder=folder,
        images=TrainingImages(pixels=pixels, classes=folder.classes[shots.chosen]),
        chosen=shots.chosen,
        class_names=class_names,
        template=template,
        settings=settings,
        unusable=tuple(map(_name_file, shots.unusable.values())),
    )


def _name_file(error: Exception) -> str:
    """The error with the file's name, for the user's own terminal."""
    assert isinstance(error, UnusableImage)
    name = str(error.path).encode("utf-8", "backslashreplace").decode()
    return f"{error} It is {name}."


def _check_id(wish: Wish) -> None:
    if not re.fullmatch(PROMPT_ID, wish.prompt_id):
        raise ValueError(
            "A prompt's id is up to 64 of a-z, 0-9, point, underscore and hyphen, the first a "
            f"letter or digit; {wish.prompt_id!r} came."
        )
    if wish.card_path.exists():
        raise ValueError(
            f"There is a prompt {wish.prompt_id!r} in {wish.out} already. Choose another id, or "
            "remove that prompt first."
        )


def _find_class_names(wish: Wish, folder: ImageFolder) -> tuple[str, ...]:
    names = wish.class_names or folder.find_class_names()
    folders = ", ".join(folder.class_folders)
    if names is None:
        raise ValueError(
            f"The class folders are numbers ({folders}): name the classes with --class-name, once "
            "for each in this order."
        )
    if len(names) != len(folder.class_folders):
        raise ValueError(
            f"{len(folder.class_folders)} class names were expected, one for each of {folders}; "
            f"{len(names)} came."
        )
    return check_new_class_names(names)


def learn(
    lesson: Lesson,
    card: ModelCard,
    weights: Path,
    device: torch.device,
    *,
    on_epoch: Callable[[Epoch], None],
    now: Callable[[], datetime],
) -> Written:
    """Learns, writes both files of the prompt, and tries it on the images that were left over.

    After each epoch a checkpoint is written beside the output. A later call continues from it. It
    is removed at the end.

    Raises:
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
        CheckpointUnusable: the checkpoint beside the output belongs to another learning.
        ValueError: see `models.learning.few_shot.learn_prompt`.
        OSError: a file cannot be written.
    """
    wish = lesson.wish
    vlm = load_vlm(card, weights, device)
    wish.out.mkdir(parents=True, exist_ok=True)

    def keep(epoch: Epoch, checkpoint: bytes) -> None:
        write_whole(wish.checkpoint, checkpoint)
        on_epoch(epoch)

    try:
        learned = learn_prompt(
            vlm,
            lesson.images,
            lesson.class_names,
            lesson.settings,
            resume=_find_checkpoint(wish),
            on_epoch=keep,
        )
    except CheckpointUnusable as error:
        raise CheckpointUnusable(f"{error} It is {wish.checkpoint}.") from error
    prompt_card = create_learned_card(
        learned,
        prompt_id=wish.prompt_id,
        vlm=vlm,
        images=lesson.images,
        class_names=lesson.class_names,
        settings=lesson.settings,
        created_at=now(),
        description=wish.description,
        licence=wish.licence,
        source="promptsmooth learn",
        training_data=(lesson.folder.card.training_set,) if lesson.folder.card else (),
    )
    path = save_prompt(wish.out, prompt_card, learned.prompt)
    wish.checkpoint.unlink(missing_ok=True)
    held_out = measure_held_out(
        vlm,
        lesson.folder,
        lesson.chosen,
        prompt=create_prompted_classifier(vlm, learned.prompt, lesson.class_names),
        template=_create_template_classifier(vlm, lesson),
    )
    return Written(path=path, held_out=held_out)


@torch.inference_mode()
def _create_template_classifier(vlm: VLM, lesson: Lesson) -> BaseClassifier:
    return create_base_classifier(vlm, lesson.template, lesson.class_names)


def _find_checkpoint(wish: Wish) -> bytes | None:
    with suppress(FileNotFoundError):
        return wish.checkpoint.read_bytes()
    return None
