"""What `promptsmooth evaluate` is asked for, before a model is loaded; no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import get_args

from models.datasets.card import DatasetCard, describe_folder, get_dataset
from models.datasets.files import LabelledFile, count_left_out, list_dataset
from models.datasets.image_folder import Split
from models.datasets.subset import choose_subset
from worker.evaluation.question import BaselineName


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The options of the command line, before anything is looked up.

    Attributes:
        asked: the fields of a certification that the dataset and the prompts do not determine.
        baselines: which models to judge beside the prompts.
        attacked: the number of images, from the first, for which a witness is looked for.
    """

    data: Path
    dataset: str | None
    split: Split
    model: str
    prompts: tuple[str, ...]
    baselines: tuple[BaselineName, ...]
    asked: Mapping[str, object]
    images: int
    seed: int
    concurrent: int | None
    out: Path | None
    data_dir: Path
    attacked: int = 0


@dataclass(frozen=True, kw_only=True)
class ChosenImages:
    """The images of an evaluation, with the card of their classes."""

    dataset: DatasetCard
    files: tuple[LabelledFile, ...]


def choose_images(options: EvaluationOptions) -> ChosenImages:
    """Lists the dataset and chooses the images.

    Raises:
        ValueError: the folder is unlike its card, or has no images.
        models.datasets.card.UnknownDataset: no card has this id.
    """
    dataset = _find_dataset(options)
    listed = list_dataset(options.data, dataset, options.split)
    return ChosenImages(
        dataset=dataset, files=choose_subset(listed, options.images, seed=options.seed)
    )


def name_fields(
    options: EvaluationOptions, dataset: DatasetCard, template: str, prompts: Sequence[str]
) -> dict[str, object]:
    """The fields of each image's certification, as one would send them.

    Every prompting uses the class names and template of the dataset. So all answer the same
    question, and the index of a class is that of its folder.

    Args:
        options: what the command line says.
        dataset: the card of the classes.
        template: the model's own, where the dataset has none.
        prompts: the ids or digests of the prompts.
    """
    return {
        "template": dataset.template or template,
        **options.asked,
        "prompt": list(prompts),
        "class_name": list(dataset.class_names),
    }


def count_junk(options: EvaluationOptions) -> int:
    """Returns how many files, such as Thumbs.db or README, the class folders hold beside images."""
    return count_left_out(options.data, _find_dataset(options), options.split)


def _find_dataset(options: EvaluationOptions) -> DatasetCard:
    if options.dataset is None:
        return describe_folder(options.data, options.split)
    return get_dataset(options.dataset)


def parse_radii(texts: Sequence[str]) -> tuple[Decimal, ...]:
    """Parses the radii: ascending, each once. Raises ValueError if one is not a radius."""
    try:
        radii = {Decimal(text) for text in texts}
        if all(radius.is_finite() and radius >= 0 for radius in radii):
            return tuple(sorted(radii))
    except InvalidOperation:
        pass
    raise ValueError(f"a radius is a number from 0 on, got {', '.join(texts)}")


def parse_baselines(names: Sequence[str]) -> tuple[BaselineName, ...]:
    """Parses the names of baselines: each once. Raises ValueError if one is not known."""
    known = {name: name for name in get_args(BaselineName)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"a baseline is {' or '.join(known)}, got {unknown[0]}")
    return tuple(known[name] for name in dict.fromkeys(names))
