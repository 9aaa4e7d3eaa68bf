"""Evaluations as they stand: their place, their table so far, their images."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from redis import Redis

from app.server.access.caller import Caller
from app.server.answers import evaluations as answers
from app.server.answers.problems import EvaluationUnknown
from app.server.jobs.evaluations.lines import READER, Lines, RowOutcome, ShownImage
from app.server.jobs.evaluations.needs import Needs
from app.server.jobs.evaluations.record import (
    EndedEvaluation,
    EvaluationFolder,
    StoredEvaluation,
    list_evaluations,
)
from app.server.jobs.evaluations.submit import PreparedEvaluation
from worker.evaluation.accuracy import certified_accuracy
from worker.evaluation.question import Row
from worker.jobs.load import get_speeds

_PACE_IMAGES = 20  # the last ones, which say how fast it goes


def find_evaluation(
    root: Path, evaluation_id: str, caller: Caller
) -> tuple[EvaluationFolder, StoredEvaluation]:
    """An evaluation that the caller may see.

    Raises:
        EvaluationUnknown: there is none.
    """
    folder = EvaluationFolder(root / evaluation_id)
    asked = folder.read()
    if asked is None or not caller.may_see(asked.owner):
        raise EvaluationUnknown
    return folder, asked


def list_visible(root: Path, caller: Caller) -> answers.EvaluationList:
    """The caller's evaluations, newest first."""
    found = [pair for pair in list_evaluations(root) if caller.may_see(pair[1].owner)]
    return answers.EvaluationList(evaluations=tuple(_summarise(*pair) for pair in reversed(found)))


def _summarise(folder: EvaluationFolder, asked: StoredEvaluation) -> answers.EvaluationSummary:
    lines = READER.count(folder.run_file)
    return answers.EvaluationSummary(
        **_common(asked, folder.find_end(), begun=lines > 0, done=max(0, lines - 1)),
        submitted_at=asked.submitted_at,
        images=len(asked.files),
    )


def show_evaluation(folder: EvaluationFolder, asked: StoredEvaluation) -> answers.EvaluationView:
    """An evaluation as it stands, with the table of the images that are finished."""
    lines, ended = READER.read(folder.run_file), folder.find_end()
    done = len(lines.images) + len(lines.skipped)
    return answers.EvaluationView(
        **_common(asked, ended, begun=lines.question is not None, done=done),
        submitted_at=asked.submitted_at,
        ended_at=None if ended is None else ended.ended_at,
        failure=None if ended is None else ended.failure,
        seed=asked.seed,
        listing_sha256=asked.listing_sha256,
        images=len(asked.files),
        skipped=len(lines.skipped),
        estimated_s=None if ended else _estimate(asked, lines),
        table=_tabulate(asked, lines),
    )


def _common(
    asked: StoredEvaluation, ended: EndedEvaluation | None, *, begun: bool, done: int
) -> dict[str, object]:
    status: answers.Status = "running" if begun else "queued"
    path = f"/evaluations/{asked.id}"
    finished = ended is not None and ended.status == "finished"
    names = get_args(answers.ResultsFile) if finished else ()
    return {
        "id": asked.id,
        "status": status if ended is None else ended.status,
        "dataset": asked.dataset,
        "split": asked.split,
        "model": asked.model,
        "done": done,
        "links": answers.EvaluationLinks(
            self=path,
            images=f"{path}/images",
            results={name: f"{path}/{name}" for name in names},
        ),
    }


def _estimate(asked: StoredEvaluation, lines: Lines) -> float | None:
    """Seconds left, at the pace of the last images of the last sitting."""
    sitting = max((image.sitting for image in lines.images.values()), default=0)
    times = sorted(one.elapsed_s for one in lines.images.values() if one.sitting == sitting)
    recent = times[-_PACE_IMAGES:]
    left = len(asked.files) - len(lines.images) - len(lines.skipped)
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return round(left * (recent[-1] - recent[0]) / (len(recent) - 1), 1)


def _tabulate(asked: StoredEvaluation, lines: Lines) -> tuple[answers.EvaluationRow, ...]:
    if not lines.images:
        return ()
    columns = zip(*(image.outcomes for image in lines.images.values()), strict=True)
    return tuple(_create_row(asked, *pair) for pair in zip(lines.rows, columns, strict=True))


def _create_row(
    asked: StoredEvaluation, row: Row, outcomes: Sequence[RowOutcome]
) -> answers.EvaluationRow:
    right = [one.right_radius for one in outcomes]
    abstained = sum(one.prediction is None for one in outcomes)
    found = sorted(radius for radius in right if radius is not None)
    return answers.EvaluationRow(
        label=row.label,
        sigma=row.sigma,
        images=len(outcomes),
        abstained=abstained,
        wrong=len(outcomes) - abstained - len(found),
        at_radius=tuple(
            answers.RowAt(radius=radius, accuracy=certified_accuracy(right, radius))
            for radius in asked.radii
        ),
        right_radii=tuple(found),
    )


def show_images(folder: EvaluationFolder, asked: StoredEvaluation) -> answers.EvaluationImages:
    """The images that are finished or skipped, in order."""
    lines = READER.read(folder.run_file)
    names = asked.targets[0].class_names
    shown = {place: _show_image(image, names) for place, image in lines.images.items()}
    for place, skipped in lines.skipped.items():
        shown[place] = answers.EvaluationImage(
            place=place,
            file=skipped.file,
            class_name=names[skipped.class_index],
            why_not=skipped.why_not,
        )
    return answers.EvaluationImages(
        id=asked.id,
        rows=tuple(answers.RowName(label=row.label, sigma=row.sigma) for row in lines.rows),
        images=tuple(shown[place] for place in sorted(shown)),
    )


def _show_image(image: ShownImage, class_names: Sequence[str]) -> answers.EvaluationImage:
    return answers.EvaluationImage(
        place=image.place,
        file=image.file,
        class_name=class_names[image.class_index],
        input_sha256=image.input_sha256,
        certification=image.certification,
        outcomes=tuple(map(_show_outcome, image.outcomes)),
    )


def _show_outcome(one: RowOutcome) -> answers.ImageOutcome:
    return answers.ImageOutcome(
        outcome="abstained" if one.prediction is None else "certified",
        prediction=one.prediction,
        radius=one.radius,
        right=one.right_radius is not None,
    )


def show_needs(redis: Redis, prepared: PreparedEvaluation, needs: Needs) -> answers.EvaluationNeeds:
    """What an evaluation would take, and what there is."""
    speed = get_speeds(redis).get(prepared.asked.model.id)
    return answers.EvaluationNeeds(
        images=len(prepared.asked.files),
        samples=prepared.samples,
        disk_bytes=needs.taken.disk,
        disk_reserved_bytes=needs.reserved.disk,
        disk_free_bytes=needs.disk_free,
        redis_bytes=needs.taken.redis,
        redis_reserved_bytes=needs.reserved.redis,
        redis_free_bytes=needs.redis_free,
        estimated_s=round(prepared.samples / speed, 1) if speed else None,
        fits=needs.fits,
    )
