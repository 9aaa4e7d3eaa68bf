"""The images of a run beside the run: their source, and how long everyday changes of them are."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from app.server.answers.yardsticks import list_yardsticks
from models.catalogue.cards import ModelCard
from models.datasets.card import DatasetCard, describe_folder, get_dataset, list_datasets
from models.datasets.files import LabelledFile, list_dataset
from models.datasets.image_folder import CARD, SPLITS, Split
from models.datasets.subset import choose_subset, listing_sha256
from models.imaging import ImageError
from worker.evaluation.accuracy import Share
from worker.evaluation.dossier.document import YardstickCover
from worker.evaluation.dossier.finished_run import FinishedRun, RunNotSound
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import Arm
from worker.prepare import prepare_image


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long one change is on each image of a run, in the order of the images."""

    id: str
    title: str
    lengths: tuple[Decimal, ...]

    def cover(self, arm: Arm) -> YardstickCover:
        """How many images of a row are certified beyond this change."""
        pairs = zip(arm.radii_by_image, self.lengths, strict=True)
        covered = sum(radius is not None and radius > length for radius, length in pairs)
        mean = sum(self.lengths, Decimal(0)) / len(self.lengths)
        return YardstickCover(
            id=self.id,
            title=self.title,
            mean_length=mean.quantize(Decimal("0.000001")),
            covered=Share.of(covered, len(self.lengths)),
        )


@dataclass(frozen=True, kw_only=True)
class FoundImages:
    """The images of a run, found again: their dataset, and the lengths of changes."""

    dataset: DatasetCard
    changes: tuple[Lengths, ...]


def find_images(root: Path, run: FinishedRun, card: ModelCard) -> FoundImages:
    """The images of a run in the folder that it was made from.

    Raises:
        RunNotSound: the folder holds other images, other classes or other labels than the run, it
            has another name, or a file that the run skipped is not refused here for that reason.
        models.datasets.image_folder.UnusableFolder: it is no folder of labelled images.
    """
    question = run.results.question
    split: Split = "train" if question.split == "train" else "test"
    dataset = _find_dataset(question.dataset, root, split)
    files = choose_subset(list_dataset(root, dataset, split), question.images, seed=question.seed)
    _require_named(question, dataset, root)
    _require_same(question, files, dataset)
    _require_undecodable(run, files, card)
    return FoundImages(dataset=dataset, changes=tuple(_measure(run, files, card)))


def _find_dataset(name: str, root: Path, split: Split) -> DatasetCard:
    if name in {card.id for card in list_datasets()}:
        return get_dataset(name)
    return describe_folder(root, split)


def _require_named(question: EvaluationQuestion, dataset: DatasetCard, root: Path) -> None:
    """A folder without a card is called by its own name, which anyone may change."""
    same_name = dataset.id == question.dataset or not (root / CARD).exists()
    if not same_name or question.split not in SPLITS:
        raise RunNotSound("the run names another dataset or part than the folder of --data")


def _require_same(
    question: EvaluationQuestion, files: Sequence[LabelledFile], dataset: DatasetCard
) -> None:
    """The listing covers the files' order, names, classes and contents."""
    same_names = all(target.class_names == dataset.class_names for target in question.targets)
    same_files = listing_sha256(files) == question.listing_sha256
    if not (same_names and same_files and len(files) == question.images):
        raise RunNotSound(
            "the folder of --data does not hold the images of this run, in the same classes"
        )


def _require_undecodable(run: FinishedRun, files: Sequence[LabelledFile], card: ModelCard) -> None:
    """A run could leave an unwelcome image out by calling it undecodable."""
    for image in run.results.skipped:
        code = _find_refusal(files[image.place], card)
        if code != image.code:
            found = "it can be decoded" if code is None else f"it is refused as {code}"
            raise RunNotSound(
                f"image {image.place} of the run was skipped as {image.code}, but here {found}. If "
                "other bounds of decoding were set for the run, set the same here"
            )


def _find_refusal(file: LabelledFile, card: ModelCard) -> str | None:
    try:
        prepare_image(file.path.read_bytes(), card)
    except ImageError as error:
        return error.code
    return None


def _measure(run: FinishedRun, files: Sequence[LabelledFile], card: ModelCard) -> Iterator[Lengths]:
    found, titles = defaultdict(list), {}
    for image in run.images:
        file = files[image.place]
        pixels, described = prepare_image(file.path.read_bytes(), card)
        if (described.sha256, file.class_index) != (image.result.input.sha256, image.class_index):
            raise RunNotSound(f"image {image.place} of the run is another one in --data")
        for one in list_yardsticks(pixels).yardsticks:
            titles[one.id] = one.title
            found[one.id].append(Decimal(str(one.l2)))
    for name, lengths in found.items():
        yield Lengths(id=name, title=titles[name], lengths=tuple(lengths))
