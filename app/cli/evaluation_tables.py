"""Prints the results of an evaluation to a terminal."""

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from worker.evaluation.results import Arm, AtRadius, EvaluationResults
from worker.evaluation.tables import format_mean_radius, format_ratio
from worker.evaluation.trained import CostRatio, compare_costs

_OUT_OF_REACH = "–"


def print_results(results: EvaluationResults) -> None:
    """Prints certified accuracy, its differences to the template, and what tuned prompts answer."""
    console, question = Console(), results.question
    console.print(
        f"Certified accuracy by l2 radius: {question.dataset} {question.split}, model "
        f"{question.identity.model.id}, {results.arms[0].images} images"
    )
    if results.skipped:
        console.print(
            f"{len(results.skipped)} of {question.images} chosen files were skipped: they cannot "
            "be decoded."
        )
    console.print(_create_table(results, _format_accuracy, with_mean=True))
    console.print(
        "–: above the largest radius that so many samples can show. An abstention counts as wrong, "
        "and as 0 in the mean radius (ACR). results.md has the intervals. Research use only."
    )
    if any(at.paired for arm in results.arms for at in arm.at_radius):
        console.print(
            "\nDifference to the template on the same images and noise; *: its 95 % interval "
            "excludes 0"
        )
        console.print(_create_table(results, _format_difference))
    for sentence in (
        *_describe_others(results),
        *map(_describe_ratio, compare_costs(results.trained)),
    ):
        console.print(sentence)


def _format_accuracy(at: AtRadius) -> str:
    return format_ratio(at.accuracy.right, at.accuracy.images, digits=2)


def _format_difference(at: AtRadius) -> str:
    paired = at.paired
    if paired is None:
        return ""
    is_clear = paired.low > 0 or paired.high < 0
    return f"{paired.difference:+.2f}{'*' if is_clear else ''}".replace("0.", ".")


def _create_table(
    results: EvaluationResults, format_cell: Callable[[AtRadius], str], *, with_mean: bool = False
) -> Table:
    """One row per arm, with the radii that some arm can reach; rows without a cell are left out."""
    largest = max(arm.largest_radius for arm in results.arms)
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("prompting", overflow="fold")
    table.add_column("sigma", no_wrap=True)
    if with_mean:
        table.add_column("mean r", justify="right", no_wrap=True)
    for at in results.arms[0].at_radius:
        if at.radius <= largest:
            table.add_column(f"{at.radius:f}", justify="right", no_wrap=True, min_width=4)
    for arm in results.arms:
        cells = [_format(arm, at, format_cell) for at in arm.at_radius if at.radius <= largest]
        if any(cells):
            mean = [format_mean_radius(arm)] if with_mean else []
            table.add_row(arm.label, f"{arm.sigma:f}", *mean, *cells)
    return table


def _format(arm: Arm, at: AtRadius, format_cell: Callable[[AtRadius], str]) -> str:
    cell = format_cell(at)
    return _OUT_OF_REACH if cell and at.radius > arm.largest_radius else cell


def _describe_others(results: EvaluationResults) -> Iterator[str]:
    tuned = [(arm, arm.others) for arm in results.arms if arm.others is not None]
    if tuned:
        yield "\nPrompts tuned on one image, on the other images without noise:"
    for arm, others in tuned:
        yield (
            f"{arm.label}, sigma {arm.sigma:f}: {others.accuracy:.2f} right; the commonest answer "
            f"is {others.commonest:.2f} of all"
        )


def _describe_ratio(ratio: CostRatio) -> str:
    times = "" if ratio.seconds is None else f"{ratio.seconds:,.1f} times the seconds and "
    return (
        f"{ratio.baseline}: {ratio.models} models, one for each sigma, took {times}"
        f"{ratio.size_bytes:,.1f} times the bytes of the one prompt {ratio.prompt}"
    )
