"""Plots certified accuracy against radius, with a line per row and a panel per noise level."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from worker.evaluation.results import Arm, EvaluationResults

_STYLES = ("-", "--", "-.", ":")
COLOURS = {  # Okabe and Ito (2008): told apart by colour-blind readers too
    "template": "#000000",
    "few-shot": "#0072b2",
    "zero-shot": "#e69f00",
    "few-shot+zero-shot": "#d55e00",
    "routed": "#56b4e9",
    "denoised": "#009e73",
    "noise-trained": "#cc79a7",
}
_COLUMNS_PER_PANEL = 2


def create_steps(right_radii: Sequence[Decimal], images: int) -> tuple[list[float], list[float]]:
    """The corners of certified accuracy as a function of the radius, exact at every radius.

    The shares in the second list belong to the radii in the first. Each share holds from the
    previous radius, exclusive, up to its own radius, inclusive. The last step falls to 0.
    """
    radii = sorted(map(float, right_radii))
    shares = [(len(radii) - place) / images for place in range(len(radii))]
    return [0.0, *radii, radii[-1] if radii else 0.0], [len(radii) / images, *shares, 0.0]


def write_plots(results: EvaluationResults, folder: Path) -> None:
    """Writes `plot.svg` and `plot.png`. The same results give the same picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = [(s, list(arms)) for s, arms in groupby(results.arms, key=lambda arm: arm.sigma)]
    figure = Figure(figsize=(1 + 3.2 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (sigma, arms) in zip(axes, panels, strict=True):
        _draw_panel(axis, sigma, arms)
    axes[0].set_ylabel("certified accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(len(labels), _COLUMNS_PER_PANEL * len(panels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(
        f"{results.question.dataset} {results.question.split}, "
        f"{results.question.identity.model.id}, {results.arms[0].images} images"
    )
    with mpl.rc_context({"svg.hashsalt": "promptsmooth"}):
        figure.savefig(folder / "plot.svg", metadata={"Date": None})
    figure.savefig(folder / "plot.png", dpi=150)


def _draw_panel(axis: Any, sigma: Decimal, arms: Sequence[Arm]) -> None:
    for place, arm in enumerate(arms):
        radii, shares = create_steps(arm.right_radii, arm.images)
        axis.step(
            radii,
            shares,
            where="pre",
            label=arm.label,
            color=COLOURS[arm.baseline or arm.target.prompting],
            linestyle=_STYLES[place % len(_STYLES)],  # lines that coincide can be seen
            linewidth=1.2 if arm.baseline else 1.8,
        )
    axis.set_title(f"σ = {sigma:f}")
    axis.set_xlabel("l2 radius, pixels in [0, 1]")
    axis.set_xlim(left=0)
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)
