"""Gathers what a dossier says: the run, the cards of its model and prompts, and its images."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path

from app.dossier.command import spell_command
from app.dossier.images import FoundImages, find_images
from app.dossier.printed import name_printer
from app.local.engine import find_model, find_prompts
from app.local.prompts import LocalPrompts
from models.catalogue import UnknownModel
from models.catalogue.cards import ModelCard
from worker.contract import PromptRef
from worker.counting.sessions import list_named
from worker.evaluation.dossier.document import (
    DataFacts,
    Dossier,
    ModelFacts,
    PromptFacts,
    Reproduction,
    RowFigures,
)
from worker.evaluation.dossier.figures import count_false, create_rows
from worker.evaluation.dossier.finished_run import FinishedRun, RunNotSound, load_finished_run
from worker.evaluation.dossier.limits import list_limits
from worker.evaluation.question import EvaluationQuestion


@dataclass(frozen=True, kw_only=True)
class DossierOptions:
    """The options of the command line.

    Attributes:
        run: the folder of a finished run.
        data: the folder of its images; None leaves out what only they show.
        data_dir: the data folder of this machine.
        written: the day that the dossier states.
    """

    run: Path
    data: Path | None
    data_dir: Path
    written: date


def gather(options: DossierOptions) -> Dossier:
    """Everything that the dossier of a run says.

    Raises:
        RunNotSound: the run is not finished, a certificate or the results do not hold, or `data`
            holds other images.
    """
    run = load_finished_run(options.run)
    question = run.results.question
    card = _find_card(question)
    images = None
    if options.data is not None:
        images = find_images(options.data, run, _require_card(card, question))
    rows = _add_yardsticks(run, images)
    multiplicity = count_false(run)
    attacked = max((arm.tightness.images for arm in run.results.arms if arm.tightness), default=0)
    return Dossier(
        written=options.written,
        model=None if card is None else _describe_model(card),
        prompts=tuple(_describe_prompts(run, find_prompts(options.data_dir))),
        data=_describe_data(run, images),
        results=run.results.model_copy(update={"skipped": ()}),  # their file names stay in the run
        rows=rows,
        attacked=attacked,
        multiplicity=multiplicity,
        limits=tuple(list_limits(run.results, rows, multiplicity, attacked=attacked)),
        reproduction=Reproduction(
            command=spell_command(question, attacked),
            printed_with=name_printer(),
            run_sha256=run.run_sha256,
            results_sha256=run.results_sha256,
            signer=run.signer,
        ),
    )


def _find_card(question: EvaluationQuestion) -> ModelCard | None:
    """The card of the evaluated model, if this machine has that very model."""
    try:
        card, _ = find_model(question.identity.model.id)
    except UnknownModel:
        return None
    return card if card.sha256 == question.identity.model.sha256 else None


def _require_card(card: ModelCard | None, question: EvaluationQuestion) -> ModelCard:
    if card is None:
        raise RunNotSound(
            f"this machine does not have the model {question.identity.model.id} of the run, so the "
            "images of --data cannot be prepared as it sees them"
        )
    return card


def _add_yardsticks(run: FinishedRun, images: FoundImages | None) -> tuple[RowFigures, ...]:
    rows = create_rows(run)
    if images is None:
        return rows
    return tuple(
        row.model_copy(update={"yardsticks": tuple(one.cover(arm) for one in images.changes)})
        for row, arm in zip(rows, run.results.arms, strict=True)
    )


def _describe_model(card: ModelCard) -> ModelFacts:
    return ModelFacts(
        name=card.name,
        licence=card.licence,
        source=card.source,
        intended_use=card.intended_use,
        training_data=card.training_data,
    )


def _describe_prompts(run: FinishedRun, prompts: LocalPrompts) -> Iterator[PromptFacts]:
    """The stored prompts that the run names, each once."""
    named = chain.from_iterable(map(list_named, run.results.question.targets))
    for ref in dict.fromkeys(named):
        card = prompts.find_card(ref.sha256)
        learning = None if card is None else card.learning
        yield PromptFacts(
            id=ref.id,
            sha256=ref.sha256,
            method=ref.method,
            licence="" if card is None else card.licence,
            training_data=() if card is None else card.training_data,
            shots=None if learning is None else learning.shots,
            evaluated_images=_count_known(run, ref, () if learning is None else learning.images),
        )


def _count_known(run: FinishedRun, ref: PromptRef, learned_on: Collection[str]) -> int | None:
    """The evaluated images that a prompt was learned on, as its card or certificates say.

    An empty `learned_on` is that of a card which does not name its images. A certificate says
    nothing where whoever made it did not know the images of the prompt's learning.
    """
    evaluated = {image.result.input.sha256 for image in run.images}
    said = {
        image.result.input.sha256
        for row in run.results.question.rows
        if list_named(row.target) == (ref,)
        for image in run.images
        if image.find_certificate(row).learned_on_this_image
    }
    return len(said | evaluated & set(learned_on)) if learned_on or said else None


def _describe_data(run: FinishedRun, images: FoundImages | None) -> DataFacts:
    names = run.results.question.targets[0].class_names
    counts = Counter(image.class_index for image in run.images)
    card = None if images is None else images.dataset
    return DataFacts(
        compared=images is not None,
        name="" if card is None else card.name,
        source="" if card is None else card.source,
        licence="" if card is None else card.licence,
        images_by_class={name: counts[index] for index, name in enumerate(names)},
        skipped=dict(Counter(one.code for one in run.results.skipped)),
    )
