"""Formats results as Markdown. Shares round to the nearest; radii and lower bounds down, upper
bounds up.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from worker.contract import CohenParameters, StagedParameters
from worker.evaluation.accuracy import Share
from worker.evaluation.comparison.paired import PairedDifference
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import Arm, AtRadius, EvaluationResults
from worker.evaluation.trained import Trained, compare_costs

_STEP = Decimal("0.001")
_OUT_OF_REACH = "–"
_DIFFERENCE_STEP = Decimal("0.01")
_TIGHTNESS = (
    "R_attack is the distance of the smallest change found that changes an answer, R the certified "
    "radius; medians over images. *Attacked* counts the certified images whose smoothed answer "
    "changed, *undefended* is the same model under the same prompt without noise. An alarm is a "
    "smoothed answer that changed within its radius. A search proves no distance safe."
)


def format_markdown(results: EvaluationResults, *, written: date, heading: str = "#") -> str:
    """The tables of a run, with one row per target or baseline and noise level, and their notes.

    Args:
        results: the results.
        written: the day that they are dated with.
        heading: the mark of the first heading.
    """
    question = results.question
    parts = [
        f"{heading} {question.dataset} {question.split}, model {question.identity.model.id}",
        _describe(results),
        "\n".join(format_table(results)),
        _describe_cost(results),
    ]
    if any(at.paired for arm in results.arms for at in arm.at_radius):
        differences = "\n".join(format_differences(results))
        parts += [f"{heading}# Difference to the template", _describe_pairs(results), differences]
    if any(arm.tightness for arm in results.arms):
        tight = "\n".join(format_tightness(results))
        parts += [f"{heading}# How near attacks came", _TIGHTNESS, tight]
    if results.trained:
        parts += [f"{heading}# What was trained", "\n".join(format_trained(results.trained))]
    parts += [f"{heading}# What was run", "\n".join(_list_origin(results, written))]
    return "\n\n".join(parts) + "\n"


def format_table(results: EvaluationResults) -> Iterator[str]:
    """The lines of the table of certified accuracy, with the radii that some row can reach."""
    reached = find_reached(results)
    head = ["prompting", "σ", "clean", "others", "commonest", "abstained", "mean radius"]
    head += ["samples", "tuning, s"]
    yield from _format_head([*head, *map(_name_radius, reached)])
    for arm in results.arms:
        cells = [_cell(arm, at) for at in arm.at_radius if at.radius in reached]
        yield _format_row([*_head(arm), *cells])


def format_differences(results: EvaluationResults) -> Iterator[str]:
    """The lines of the table of paired differences."""
    reached = find_reached(results)
    yield from _format_head(["prompting", "σ", *map(_name_radius, reached)])
    for arm in results.arms:
        at_reached = [at for at in arm.at_radius if at.radius in reached]
        if any(at.paired for at in at_reached):
            cells = [_difference_cell(arm, at) for at in at_reached]
            yield _format_row([arm.label, f"{arm.sigma:f}", *cells])


def format_tightness(results: EvaluationResults) -> Iterator[str]:
    """The lines of the table of what attacks found."""
    yield from _format_head(
        ["prompting", "σ", "attacked", "R_attack / R", "smallest", "undefended R_attack", "alarms"]
    )
    for arm in results.arms:
        if (found := arm.tightness) is not None:
            plain = statistics.median(found.undefended) if found.undefended else None
            yield _format_row(
                [
                    arm.label,
                    f"{arm.sigma:f}",
                    f"{len(found.ratios)} of {found.certified}",
                    _format_or_none(found.median),
                    _format_or_none(min(found.ratios, default=None)),
                    _format_or_none(plain),
                    str(found.alarms),
                ]
            )


def _format_or_none(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def format_trained(trained: Sequence[Trained]) -> Iterator[str]:
    """The lines of the table of what was trained, and what one prompt saves."""
    yield from _format_head(["trained", "serves", "seconds", "bytes", "on"])
    for one in trained:
        serves = "every σ" if one.sigma is None else f"σ = {one.sigma:f}"
        seconds = "not recorded" if one.seconds is None else f"{one.seconds:,.1f}"
        yield _format_row(
            [f"{one.kind} `{one.id}`", serves, seconds, f"{one.size_bytes:,}", one.device]
        )
    ratios = list(compare_costs(trained))
    if ratios:
        yield ""
    for ratio in ratios:
        times = "" if ratio.seconds is None else f"{ratio.seconds:,.1f} times the seconds and "
        yield (
            f"- {ratio.baseline}: {ratio.models} models take {times}{ratio.size_bytes:,.1f} times "
            f"the bytes of the one prompt `{ratio.prompt}`."
        )


def find_reached(results: EvaluationResults) -> list[Decimal]:
    """The radii that at least one row can reach."""
    largest = max(arm.largest_radius for arm in results.arms)
    return [at.radius for at in results.arms[0].at_radius if at.radius <= largest]


def _name_radius(radius: Decimal) -> str:
    return f"r = {radius.normalize():f}"


def _format_head(cells: Sequence[str]) -> Iterator[str]:
    yield _format_row(cells)
    yield "| --- " * len(cells) + "|"


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(arm: Arm) -> list[str]:
    tuned, others = bool(arm.mean_adaptation_s), arm.others
    return [
        arm.label,
        f"{arm.sigma:f}",
        "" if arm.clean is None else format_ratio(arm.clean.right, arm.clean.images),
        "" if others is None else f"{others.accuracy:.3f}",
        "" if others is None else f"{others.commonest:.3f}",
        format_ratio(arm.abstained, arm.images),
        format_mean_radius(arm),
        f"{arm.mean_samples:,.0f}",
        f"{arm.mean_adaptation_s:.3f}" if tuned else "",
    ]


def _cell(arm: Arm, at: AtRadius) -> str:
    return _OUT_OF_REACH if at.radius > arm.largest_radius else format_share(at.accuracy)


def _difference_cell(arm: Arm, at: AtRadius) -> str:
    if at.radius > arm.largest_radius or at.paired is None:
        return _OUT_OF_REACH
    return format_difference(at.paired)


def format_difference(paired: PairedDifference) -> str:
    """A difference with its interval, to two decimals and rounded outwards, and the p-value."""
    low = _round_signed(paired.low, ROUND_FLOOR)
    high = _round_signed(paired.high, ROUND_CEILING)
    difference = f"{paired.difference:+.3f} ({low} to {high})"
    return f"{difference}, p = {format_p_value(paired.p_value)}"


def _round_signed(value: float, rounding: str) -> str:
    exact = Decimal(f"{value:.9f}")  # the float of 0.1 lies above 0.1
    return f"{exact.quantize(_DIFFERENCE_STEP, rounding) + 0:+}"  # + 0: no negative zero


def format_p_value(p_value: float) -> str:
    """A p-value with two digits, rounded up; below 0.0001 only that."""
    if p_value < 1e-4:
        return "<0.0001"
    digits = 1 - math.floor(math.log10(p_value))
    return f"{Decimal(p_value).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING):f}"


def format_share(share: Share) -> str:
    """A share with its interval, to three decimals."""
    return f"{format_ratio(share.right, share.images)} ({format_interval(share)})"


def format_interval(share: Share) -> str:
    """A share's interval, to three decimals, rounded outwards."""
    return f"{_down(share.low)}–{_up(share.high)}"


def format_ratio(part: int, whole: int, *, digits: int = 3) -> str:
    """A share to the nearest, halves up: 8 of 12 is 0.667. Less than all never reads as 1."""
    one = 10**digits
    nearest = (2 * part * one + whole) // (2 * whole)
    shown = nearest if part == whole else min(nearest, one - 1)
    return f"{shown // one}.{shown % one:0{digits}d}"


def format_mean_radius(arm: Arm) -> str:
    """The average certified radius to three decimals, rounded down."""
    return f"{arm.mean_radius.quantize(_STEP, ROUND_FLOOR):f}"


def _down(value: float) -> Decimal:
    return Decimal(value).quantize(_STEP, ROUND_FLOOR)


def _up(value: float) -> Decimal:
    return Decimal(value).quantize(_STEP, ROUND_CEILING)


def _describe(results: EvaluationResults) -> str:
    question = results.question
    return (
        f"Certified accuracy: the share of all {results.arms[0].images} images that are "
        "predicted correctly with an l2 radius of at least r (pixels in [0, 1]); an abstention "
        "counts as wrong. The brackets show the 95 % Clopper-Pearson interval over images. "
        f"{describe_procedure(question)}, α = {question.alpha:f} per certificate, so of N images"
        " up to Nα certificates may be false in expectation. All rows of one σ judge the same "
        "images on the same noise. Clean: the base classifier's accuracy without noise, if it "
        "is the same classifier for all images. Others: the mean accuracy, without noise, of "
        "the prompt tuned on one image on all other images; commonest: the mean share of the "
        "answer that it gives most often there. Where the commonest answer is common, part of a"
        " zero-shot radius is a prompt that answers one class under noise. Mean radius: the "
        "average certified radius (ACR) over all images, rounded down; an abstention or a wrong"
        " class counts as 0. Samples: the mean number used by a certificate; the promptings of "
        "an image share samples. Tuning: the mean seconds per image, without the image tower. "
        f"“{_OUT_OF_REACH}”: above the largest radius that this many samples can show. A "
        "zero-shot row certifies each image under the frozen prompt tuned on it. It does not "
        "cover tuning another prompt on a perturbed image."
        + _describe_skipped(results)
        + _describe_baselines(results)
        + _describe_prompts(results)
    )


def describe_procedure(question: EvaluationQuestion) -> str:
    """The procedure with its parameters; of `staged`, n_max and those that are not the default."""
    match question.procedure:
        case CohenParameters(n0=n0, n=n):
            return f"`cohen` with n0 = {n0}, n = {n}"
        case staged:
            usual = dict(StagedParameters(n_max=staged.n_max))
            others = [f", {name} = {value}" for name, value in staged if value != usual[name]]
            return f"`staged` with n_max = {staged.n_max}{''.join(others)}"


def _list_origin(results: EvaluationResults, written: date) -> Iterator[str]:
    """What somebody needs to run it again, and to see that it is the same."""
    question, identity = results.question, results.question.identity
    versions = ", ".join(f"{name} {number}" for name, number in identity.versions.items())
    yield f"- model: `{identity.model.id}`, SHA-256 `{identity.model.sha256}`"
    if identity.fingerprint is not None:
        yield f"- fingerprint of what it computes: `{identity.fingerprint}`"
    yield (
        f"- images: {question.images} of {question.dataset} {question.split}, chosen with seed "
        f"{question.seed}; SHA-256 of their list `{question.listing_sha256}`"
    )
    yield (
        f"- on: {identity.device}, {identity.precision}, {identity.threads} threads, batches of "
        f"{identity.batch_size}"
    )
    yield f"- versions: {versions}"
    yield f"- commitment to the secret of the run's noise: `{question.key_commitment}`"
    yield f"- written: {written:%Y-%m-%d}"


def _describe_skipped(results: EvaluationResults) -> str:
    if not results.skipped:
        return ""
    return (
        f" Of {results.question.images} chosen files, {len(results.skipped)} could not be decoded "
        "and were skipped; `skipped` in results.json names them and the reasons."
    )


def _describe_baselines(results: EvaluationResults) -> str:
    models = {
        f"`{one.identity.model.id}` ({one.identity.model.sha256[:16]}…)"
        for one in results.question.baselines
    }
    if not models:
        return ""
    return (
        " A denoised or noise-trained row has a model of its own at each σ, whose digest covers "
        "the denoiser, and classifies by the template. It is certified like the other rows, on the "
        "same noise, and its certificates are about that model as base classifier: "
        f"{', '.join(sorted(models))}."
    )


def _describe_pairs(results: EvaluationResults) -> str:
    drawn = results.bootstrap
    return (
        "Certified accuracy less the template's, on the same images and noise. The brackets show "
        f"the 95 % paired bootstrap interval over images ({drawn.resamples:,} draws, seed "
        f"{drawn.seed}), rounded outwards; p is that of McNemar's exact test. No correction is "
        "made for the number of cells."
    )


def _describe_prompts(results: EvaluationResults) -> str:
    refs = {
        prompt.id: prompt.sha256
        for target in results.question.targets
        if (prompt := getattr(target, "prompt", None)) is not None
    }
    named = ", ".join(f"`{name}` (SHA-256 {sha256[:16]}…)" for name, sha256 in refs.items())
    return f" Stored prompts: {named}." if named else ""


def _describe_cost(results: EvaluationResults) -> str:
    cost, identity = results.cost, results.question.identity
    return (
        f"{cost.samples:,} passes of image towers, shared by all promptings of an image, in "
        f"{cost.seconds:,.0f} s ({cost.samples_per_s:,.0f} per second), adaptation included; "
        f"{identity.device}, {identity.precision}, {identity.threads} threads."
    )
