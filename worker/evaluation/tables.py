"""Formats results as CSV and Markdown. Shares and lower bounds round down, upper bounds up."""

import csv
import io
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from models.files.csv_cells import disarm
from worker.contract import CohenParameters
from worker.evaluation.accuracy import Share
from worker.evaluation.results import Arm, AtRadius, EvaluationResults

_STEP = Decimal("0.001")
_OUT_OF_REACH = "–"
_COLUMNS = (
    "prompting",
    "prompt",
    "sigma",
    "radius",
    "images",
    "right",
    "accuracy",
    "low",
    "high",
    "abstained",
    "wrong",
    "in_reach",
    "mean_samples",
)


def format_csv(results: EvaluationResults) -> str:
    """A CSV with one row per target, noise level and radius."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for arm in results.arms:
        for at in arm.at_radius:
            writer.writerow(map(disarm, _row(arm, at)))
    return out.getvalue()


def _row(arm: Arm, at: AtRadius) -> list[object]:
    prompt = getattr(arm.target, "prompt", None)
    share = at.accuracy
    return [
        arm.target.prompting,
        "" if prompt is None else prompt.id,
        f"{arm.sigma:f}",
        f"{at.radius:f}",
        share.images,
        share.right,
        *(f"{value:.9f}" for value in (share.share, share.low, share.high)),
        arm.abstained,
        arm.wrong,
        int(at.radius <= arm.largest_radius),
        f"{arm.mean_samples:.1f}",
    ]


def format_markdown(results: EvaluationResults, *, heading: str = "#") -> str:
    """A table of certified accuracy, with one row per target and noise level, and its notes."""
    return "\n".join(
        [
            f"{heading} {results.question.dataset} {results.question.split}, "
            f"model {results.question.identity.model.id}",
            "",
            _describe(results),
            "",
            *format_table(results),
            "",
            _describe_cost(results),
            "",
        ]
    )


def format_table(results: EvaluationResults) -> Iterator[str]:
    """The lines of the Markdown table, with the radii that at least one row can reach."""
    reached = max(arm.largest_radius for arm in results.arms)
    radii = [at.radius for at in results.arms[0].at_radius if at.radius <= reached]
    head = ["prompting", "σ", "clean", "abstained", "samples", "tuning, s"]
    yield f"| {' | '.join([*head, *(f'r = {radius:f}' for radius in radii)])} |"
    yield "| --- " * (len(head) + len(radii)) + "|"
    for arm in results.arms:
        cells = [_cell(arm, at) for at in arm.at_radius if at.radius <= reached]
        yield f"| {' | '.join([*_head(arm), *cells])} |"


def _head(arm: Arm) -> list[str]:
    tuned = bool(arm.mean_adaptation_s)
    return [
        arm.label,
        f"{arm.sigma:f}",
        "" if arm.clean is None else format_ratio(arm.clean.right, arm.clean.images),
        format_ratio(arm.abstained, arm.images),
        f"{arm.mean_samples:,.0f}",
        f"{arm.mean_adaptation_s:.3f}" if tuned else "",
    ]


def _cell(arm: Arm, at: AtRadius) -> str:
    return _OUT_OF_REACH if at.radius > arm.largest_radius else format_share(at.accuracy)


def format_share(share: Share) -> str:
    """A share with its interval, to three decimals."""
    return f"{format_ratio(share.right, share.images)} ({_down(share.low)}–{_up(share.high)})"


def format_ratio(part: int, whole: int, *, digits: int = 3) -> str:
    """A share rounded down exactly: 3 of 10 is 0.300, although the float 3/10 is less."""
    return f"0.{part * 10**digits // whole:0{digits}d}" if part < whole else f"1.{'0' * digits}"


def _down(value: float) -> Decimal:
    return Decimal(value).quantize(_STEP, ROUND_FLOOR)


def _up(value: float) -> Decimal:
    return Decimal(value).quantize(_STEP, ROUND_CEILING)


def _describe(results: EvaluationResults) -> str:
    question = results.question
    match question.procedure:
        case CohenParameters(n0=n0, n=n):
            procedure = f"`cohen` with n0 = {n0}, n = {n}"
        case staged:
            procedure = f"`staged` with n_max = {staged.n_max}"
    return (
        f"Certified accuracy: the share of all {question.images} images that are predicted "
        "correctly with an l2 radius of at least r (pixels in [0, 1]); an abstention counts as "
        "wrong. The brackets show the 95 % Clopper-Pearson interval over images. "
        f"{procedure}, α = {question.alpha:f} per certificate, so of N images up to Nα "
        "certificates may be false in expectation. All rows of one σ judge the same images on the "
        "same noise. Clean: the base classifier's accuracy without noise, if it is the same "
        "classifier for all images. Samples: the mean number used by a certificate; the rows of an "
        "image share samples. Tuning: the mean seconds per image, without the image tower. "
        f"“{_OUT_OF_REACH}”: above the largest radius that this many samples can show. "
        "A zero-shot row certifies each image under the frozen prompt tuned on it. It does not "
        "cover tuning another prompt on a perturbed image." + _describe_prompts(results)
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
        f"{cost.samples:,} passes of the image tower, shared by all rows of an image, in "
        f"{cost.seconds:,.0f} s ({cost.samples_per_s:,.0f} per second), adaptation included; "
        f"{identity.device}, {identity.precision}, {identity.threads} threads."
    )
