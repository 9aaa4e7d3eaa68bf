"""Figures of a report: the certified image, radius against noise level, votes with their bounds."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from app.server.answers.report_text import (
    ACCENT,
    BOLD,
    INK,
    PLAIN,
    SOFT,
    Certificate,
    draw_text,
    fit,
    load_fonts,
    name_wording,
)
from worker.contract.certificate.document import (
    AbstainedByCohen,
    CertifiedByCohen,
    CertifiedDocument,
)
from worker.contract.image import Image

_SERIES = (ACCENT, "#a8480b", "#4b7a1f", "#7a3fa0", "#0f7f78", "#8a6d00")
_GRID, _OTHER = "#d5dce3", "#8796a5"
_MOST_BARS = 6


def draw_image(canvas: Canvas, image: Image | None, *, x: float, top: float, side: float) -> None:
    """The certified image, pixels as squares; a frame with words where it is no longer stored."""
    canvas.setStrokeColor(_GRID)
    canvas.rect(x, top - side, side, side)
    if image is None:
        text = "The certified image is no longer stored. Its digest below names it."
        draw_text(canvas, text, x=x + 8, top=top - side / 3, width=side - 16, colour=SOFT)
        return
    file = BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
    canvas.drawImage(ImageReader(file), x, top - side, side, side, preserveAspectRatio=True)


def draw_radii(
    canvas: Canvas,
    certificates: Sequence[Certificate],
    *,
    x: float,
    top: float,
    width: float,
    height: float,
) -> None:
    """Radius against noise level; an abstention stands in a lane of its own, at no radius."""
    load_fonts()
    sigmas = sorted({c.sigma for c in certificates})
    series = list(dict.fromkeys(map(_identity, certificates)))
    radii = [c.radius for c in certificates if isinstance(c, CertifiedDocument)]
    highest = float(max(radii, default=Decimal(0))) or 1.0
    left, floor = x + 34, top - height + 44
    band = (x + width - left) / len(sigmas)
    scale = (top - 14 - floor) / (highest * 1.08)
    _draw_axes(canvas, x=x, left=left, right=x + width, floor=floor, highest=highest, scale=scale)
    canvas.setFont(PLAIN, 7)
    canvas.setFillColor(SOFT)
    every = -(-30 // int(band + 1))  # names of levels that would overlap are left out
    for place, sigma in list(enumerate(sigmas))[::every]:
        canvas.drawCentredString(left + band * (place + 0.5), floor - 32, f"σ {sigma:f}")
    canvas.drawCentredString((left + x + width) / 2, floor - 43, "noise level")
    for certificate in certificates:
        order = series.index(_identity(certificate))
        across = left + band * (sigmas.index(certificate.sigma) + 0.5)
        across += (order - (len(series) - 1) / 2) * min(9, band / (len(series) + 1))
        colour = _SERIES[order % len(_SERIES)]
        _draw_point(
            canvas,
            certificate,
            across,
            floor,
            scale,
            colour,
            labelled=len(series) == 1 and every == 1,
        )


def _identity(certificate: Certificate) -> tuple[str, str, tuple[str, ...]]:
    start = certificate.started_from or certificate.prompt
    tuned = certificate.adaptation is not None and certificate.started_from is None
    name = certificate.template if tuned or start is None else start.sha256
    return certificate.prompting, name or "", certificate.class_names


def _draw_axes(
    canvas: Canvas,
    *,
    x: float,
    left: float,
    right: float,
    floor: float,
    highest: float,
    scale: float,
) -> None:
    canvas.setLineWidth(0.6)
    for share in (0.0, 0.5, 1.0):
        level = floor + share * highest * scale
        canvas.setStrokeColor(SOFT if share == 0 else _GRID)
        canvas.line(left, level, right, level)
        canvas.setFont(PLAIN, 7)
        canvas.setFillColor(SOFT)
        figure = Decimal(repr(share * highest)).quantize(Decimal("0.001"), ROUND_DOWN)
        canvas.drawRightString(left - 4, level - 2.5, f"{figure:f}")
    canvas.setFillColor("#eef1f4")
    canvas.rect(left, floor - 22, right - left, 14, stroke=0, fill=1)
    canvas.setFillColor(SOFT)
    canvas.drawString(left + 4, floor - 17.5, "abstained")
    canvas.saveState()
    canvas.translate(x + 6, floor + highest * scale / 2)
    canvas.rotate(90)
    canvas.drawCentredString(0, 0, "certified l2 radius")
    canvas.restoreState()


def _draw_point(
    canvas: Canvas,
    certificate: Certificate,
    x: float,
    floor: float,
    scale: float,
    colour: str,
    *,
    labelled: bool,
) -> None:
    canvas.setLineWidth(1.2)
    canvas.setStrokeColor(colour)
    if not isinstance(certificate, CertifiedDocument):
        canvas.setDash(2, 1.4)
        canvas.circle(x, floor - 15, 4, stroke=1, fill=0)
        canvas.setDash()
        canvas.line(x - 2.8, floor - 17.8, x + 2.8, floor - 12.2)
        return
    canvas.setFillColor(colour)
    y = floor + float(certificate.radius) * scale
    canvas.circle(x, y, 3.2, stroke=0, fill=1)
    if labelled:
        canvas.setFont(BOLD, 7)
        canvas.setFillColor(INK)
        canvas.drawString(x + 6, y + 1, round_down(certificate.radius))


def draw_votes(
    canvas: Canvas, certificate: Certificate, *, x: float, top: float, width: float
) -> float:
    """Votes of the classes with the most, with the bounds of the certificate; where it ends."""
    counts, ambiguous = final_counts(certificate)
    total = sum(counts) + ambiguous
    claimed = isinstance(certificate, CertifiedDocument)
    best = find_top(certificate)
    order = sorted(range(len(counts)), key=lambda c: (-counts[c], c))[:_MOST_BARS]
    label, bar = width * 0.32, width * 0.28
    for row, index in enumerate(order):
        y = top - 11 - row * 13
        bound = certificate.p_a_lower if index == best else certificate.p_b_upper
        canvas.setFont(BOLD if index == best and claimed else PLAIN, 7)
        canvas.setFillColor(INK)
        canvas.drawString(
            x,
            y + 2,
            fit(certificate.class_names[index], width=label - 6, size=7, bold=index == best),
        )
        canvas.setFillColor("#eef1f4")
        canvas.rect(x + label, y, bar, 8, stroke=0, fill=1)
        canvas.setFillColor(ACCENT if index == best and claimed else _OTHER)
        canvas.rect(x + label, y, bar * counts[index] / total, 8, stroke=0, fill=1)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1)
        mark = x + label + bar * float(bound)
        canvas.line(mark, y - 1, mark, y + 9)
        canvas.setFont(PLAIN, 7)
        canvas.setFillColor(SOFT)
        text = f"{_share(counts[index], total)}, {_bound(bound, lower=index == best)}"
        canvas.drawString(x + label + bar + 6, y + 2, text)
    return top - 11 - len(order) * 13


def round_down(radius: Decimal) -> str:
    """A radius with three decimals, none of them rounded up."""
    return f"{radius.quantize(Decimal('0.001'), ROUND_DOWN):f}"


def _share(votes: int, total: int) -> str:
    """A share with one decimal; what is neither none nor all never looks so."""
    share = Decimal(100 * votes) / total
    if 0 < share < Decimal("0.05"):
        return "< 0.1 %"
    return "> 99.9 %" if Decimal("99.95") <= share < 100 else f"{share:.1f} %"


def _bound(bound: Decimal, *, lower: bool) -> str:
    share = (100 * bound).quantize(Decimal("0.1"), ROUND_DOWN if lower else ROUND_CEILING)
    return f"at least {share} %" if lower else f"at most {share} %"


def final_counts(certificate: Certificate) -> tuple[tuple[int, ...], int]:
    """The votes that the bounds rest on, and those that fell on no class."""
    if isinstance(certificate, CertifiedByCohen | AbstainedByCohen):
        return certificate.counts_estimation, certificate.ambiguous
    return certificate.looks[-1].counts, certificate.looks[-1].ambiguous


def find_top(certificate: Certificate) -> int:
    """The class predicted, or the one that came closest where none is."""
    if isinstance(certificate, CertifiedDocument):
        return certificate.class_index
    return certificate.closest_class_index


def draw_legend(
    canvas: Canvas, certificates: Sequence[Certificate], *, x: float, y: float, width: float
) -> None:
    """Which colour is which wording, where there are several."""
    names = {_identity(c): name_wording(c) for c in certificates}
    if len(names) < 2:
        return
    step = width / min(len(names), 3)
    canvas.setFont(PLAIN, 7)
    for order, name in enumerate(list(names.values())[:6]):
        left, line = x + step * (order % 3), y - 10 * (order // 3)
        canvas.setFillColor(_SERIES[order % len(_SERIES)])
        canvas.circle(left + 3, line + 2.5, 2.6, stroke=0, fill=1)
        canvas.setFillColor(INK)
        canvas.drawString(left + 9, line, fit(name, width=step - 14, size=7))
