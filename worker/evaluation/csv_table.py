"""Formats results as CSV, with nothing rounded for show."""

import csv
import io

from models.files.csv_cells import disarm
from worker.evaluation.comparison.paired import PairedDifference
from worker.evaluation.results import Arm, AtRadius, EvaluationResults

_COLUMNS = (
    "prompting",
    "prompt",
    "baseline",
    "model",
    "sigma",
    "radius",
    "images",
    "right",
    "accuracy",
    "low",
    "high",
    "gained",
    "lost",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "abstained",
    "wrong",
    "mean_radius",
    "in_reach",
    "clean_right",
    "others_accuracy",
    "others_commonest",
    "mean_samples",
    "mean_adaptation_s",
    "tightness",
)


def format_csv(results: EvaluationResults) -> str:
    """A CSV with one row per target or baseline, noise level and radius.

    A cell is empty where it says nothing: no prompt, no baseline, nothing to compare with, no one
    classifier for all images, nothing tuned.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for arm in results.arms:
        for at in arm.at_radius:
            writer.writerow(map(disarm, _row(arm, at)))
    return out.getvalue()


def _row(arm: Arm, at: AtRadius) -> list[object]:
    prompt, others = getattr(arm.target, "prompt", None), arm.others
    share = at.accuracy
    return [
        arm.target.prompting,
        "" if prompt is None else prompt.id,
        arm.baseline or "",
        arm.model.id,
        f"{arm.sigma:f}",
        f"{at.radius:f}",
        share.images,
        share.right,
        *(f"{value:.9f}" for value in (share.share, share.low, share.high)),
        *_format_pair(at.paired),
        arm.abstained,
        arm.wrong,
        f"{arm.mean_radius:f}",
        int(at.radius <= arm.largest_radius),
        "" if arm.clean is None else arm.clean.right,
        "" if others is None else f"{others.accuracy:.9f}",
        "" if others is None else f"{others.commonest:.9f}",
        f"{arm.mean_samples:.1f}",
        f"{arm.mean_adaptation_s:.4f}",
        _format_tightness(arm),
    ]


def _format_tightness(arm: Arm) -> str:
    """The median of R_attack / R_certified; empty where nothing was attacked or changed."""
    median = None if arm.tightness is None else arm.tightness.median
    return "" if median is None else f"{median:.6f}"


def _format_pair(paired: PairedDifference | None) -> list[object]:
    if paired is None:
        return [""] * 6
    values = (paired.difference, paired.low, paired.high)
    return [
        paired.gained,
        paired.lost,
        *(f"{value:.9f}" for value in values),
        f"{paired.p_value:.3g}",
    ]
