"""Draws the demo's picture: how far the true class is proved, by prompting and noise level."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:
    from demo import Answer

COLOURS = ("#9aa0a6", "#1a73e8", "#f9ab00", "#188038")  # readable with any colour vision
_WIDTH = 0.2


def draw(
    examples: Sequence[dict[str, str]],
    answers: Sequence[Sequence["Answer"]],
    images: Path,
    path: Path,
) -> None:
    """Writes a PNG: a row per image, with the image and a bar per prompting at each noise level."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 1.7 * len(examples) + 0.9), layout="constrained")
        rows = figure.subplots(
            len(examples), 2, squeeze=False, gridspec_kw={"width_ratios": (1, 5)}
        )
        for (left, right), example, of_image in zip(rows, examples, answers, strict=True):
            _show_image(left, images / example["picture"], example["class"])
            _draw_bars(right, of_image)
        rows[-1][1].set_xlabel("noise level σ")
        handles, labels = rows[0][1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
        figure.supylabel("certified l2 radius of the true class", fontsize=9)
        figure.savefig(path, dpi=130)


def _show_image(axis: Any, path: Path, name: str) -> None:
    axis.imshow(Image.open(path).convert("RGB"))
    axis.set_title(name, fontsize=9)
    axis.axis("off")


def _draw_bars(axis: Any, answers: Sequence["Answer"]) -> None:
    promptings = list(dict.fromkeys(one.prompting for one in answers))
    sigmas = list(dict.fromkeys(one.sigma for one in answers))
    for place, prompting in enumerate(promptings):
        chosen = [one for one in answers if one.prompting == prompting]
        at = [level + (place - 1.5) * _WIDTH for level in range(len(chosen))]
        radii = [one.radius if one.is_right else 0 for one in chosen]
        axis.bar(at, radii, _WIDTH * 0.9, label=prompting, color=COLOURS[place])
        for x, one in zip(at, chosen, strict=True):
            if not one.is_right:
                words = "wrong" if one.prediction else "abstains"
                axis.text(x, 0.02, words, rotation=90, ha="center", va="bottom", fontsize=7)
    axis.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    axis.set_ylim(0, max(0.4, *(1.1 * one.radius for one in answers)))
