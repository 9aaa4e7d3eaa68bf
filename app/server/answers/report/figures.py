"""Figures of a report: the certified image, radius against noise level, votes with their bounds."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from io import BytesIO
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as PillowImage
from reportlab.graphics.shapes import Circle, Drawing, Group, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import Flowable, Paragraph, Table
from reportlab.platypus import Image as Picture

from app.request.wordings import identify_wording, name_wording
from app.server.answers.report.text import (
    ACCENT,
    BOLD,
    INK,
    PLAIN,
    SOFT,
    Certificate,
    create_grid,
    create_text,
    shorten,
    spell,
)
from worker.contract.certificate.document import (
    AbstainedByCohen,
    CertifiedByCohen,
    CertifiedDocument,
)
from worker.contract.image import Image

_SERIES = (ACCENT, *map(HexColor, ("#a8480b", "#4b7a1f", "#7a3fa0", "#0f7f78", "#8a6d00")))
_GRID, _BACK, _OTHER = map(HexColor, ("#d5dce3", "#eef1f4", "#8796a5"))
_MOST_BARS = 6


def create_picture(image: Image | None, side: float, *, is_left_out: bool = False) -> Table:
    """The certified image with its pixels as squares, or a frame with a note if there is none."""
    if image is None:
        why = "not shown" if is_left_out else "no longer stored"
        text = f"The certified image is {why}. Its digest below names it."
        cell = create_text(text, 8, SOFT, leftIndent=8, rightIndent=8)
    else:
        file = BytesIO()
        PillowImage.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
        cell = Picture(file, width=side, height=side, kind="proportional")
    only = (0, 0), (0, 0)
    style = ("BOX", *only, 0.6, _GRID), ("VALIGN", *only, "MIDDLE"), ("ALIGN", *only, "CENTER")
    return create_grid([[cell]], [side], *style, rowHeights=[side])


def draw_text(text: str, x: float, y: float, anchor: str = "start", **look: object) -> String:
    """A few words of our own in a drawing; `look` takes further fields of reportlab's String."""
    look = {"fontName": PLAIN, "fontSize": 7, "fillColor": SOFT, **look}
    return String(x, y, text, textAnchor=anchor, **look)


def draw_radii(
    certificates: Sequence[Certificate], width: float, height: float, goal: Decimal | None = None
) -> Drawing:
    """Radius against noise level. Abstentions have a lane of their own, at no radius.

    A line marks the radius asked about, if there is one.
    """
    sigmas = sorted({c.sigma for c in certificates})
    series = list(dict.fromkeys(map(identify_wording, certificates)))
    radii = [c.radius for c in certificates if isinstance(c, CertifiedDocument)]
    highest = max([*radii, goal or Decimal(0)]) or Decimal(1)
    left, floor, top = 46, 46, height - 12
    band = (width - left) / len(sigmas)
    every = -(-30 // int(band + 1))  # labels that would overlap are left out
    drawing = _draw_axes(width, height, left, floor, top, highest)
    for place, sigma in list(enumerate(sigmas))[::every]:
        drawing.add(draw_text(f"σ {sigma:f}", left + band * (place + 0.5), floor - 32, "middle"))
    if goal is not None:
        y = floor + float(goal / highest) * (top - floor)
        drawing.add(Line(left, y, width, y, strokeColor=INK, strokeDashArray=(4, 2)))
        drawing.add(draw_text(f"goal {goal:f}", left + 2, y + 3, fillColor=INK))
    for certificate in certificates:
        order = series.index(identify_wording(certificate))
        x = left + band * (sigmas.index(certificate.sigma) + 0.5)
        x += (order - (len(series) - 1) / 2) * min(9, band / (len(series) + 1))
        colour = _SERIES[order % len(_SERIES)]
        if not isinstance(certificate, CertifiedDocument):
            drawing.add(_draw_abstention(x, floor - 15, colour))
            continue
        y = floor + float(certificate.radius / highest) * (top - floor)
        drawing.add(Circle(x, y, 3.2, fillColor=colour, strokeColor=None))
        if len(series) == 1 and every == 1:
            radius = round_down(certificate.radius)
            drawing.add(draw_text(radius, x + 6, y + 2, fillColor=INK, fontName=BOLD))
    return drawing


def _draw_axes(
    width: float, height: float, left: float, floor: float, top: float, highest: Decimal
) -> Drawing:
    upwards = Group(draw_text("certified l2 radius", 0, 0, "middle"))
    upwards.translate(7, (floor + top) / 2)
    upwards.rotate(90)
    drawing = Drawing(
        width,
        height,
        upwards,
        Rect(left, floor - 22, width - left, 14, fillColor=_BACK, strokeColor=None),
        draw_text("abstained", left - 4, floor - 17.5, "end"),
        draw_text("noise level", (left + width) / 2, floor - 43, "middle"),
    )
    for share in (Decimal(0), Decimal("0.5"), Decimal(1)):
        y = floor + float(share) * (top - floor)
        colour = _GRID if share else SOFT
        drawing.add(Line(left, y, width, y, strokeColor=colour, strokeWidth=0.6))
        drawing.add(draw_text(round_down(share * highest), left - 4, y - 2.5, "end"))
    return drawing


def _draw_abstention(x: float, y: float, colour: HexColor) -> Group:
    """A crossed-out broken circle, which cannot be taken for a certificate's mark."""
    look = {"strokeColor": colour, "strokeWidth": 1.2}
    return Group(
        Circle(x, y, 4, fillColor=None, strokeDashArray=(2, 1.4), **look),
        Line(x - 2.8, y - 2.8, x + 2.8, y + 2.8, **look),
    )


def create_legend(certificates: Sequence[Certificate]) -> Sequence[Paragraph]:
    """Which colour stands for which wording, if there are several."""
    names = {identify_wording(c): escape(spell(name_wording(c))) for c in certificates}
    colours = (_SERIES[order % len(_SERIES)].hexval() for order in range(len(names)))
    marked = (
        f'<font color="{colour}">●</font>&nbsp;{name.replace(" ", "&nbsp;")}'
        for colour, name in zip(colours, names.values(), strict=True)
    )
    style = ParagraphStyle("", fontName=PLAIN, fontSize=7, leading=11, textColor=INK)
    return [Paragraph("&nbsp;&nbsp;&nbsp; ".join(marked), style)] if len(names) > 1 else []


def create_votes(certificate: Certificate, width: float) -> Sequence[Flowable]:
    """The votes of the top classes, with the bounds of the certificate."""
    counts, ambiguous = _final_counts(certificate)
    best, answer = _find_top(certificate), isinstance(certificate, CertifiedDocument)
    order = sorted(range(len(counts)), key=lambda c: (-counts[c], c))[:_MOST_BARS]
    found: list[Flowable] = []
    for index in order:
        is_best = index == best
        bound = certificate.p_a_lower if is_best else certificate.p_b_upper
        share = Decimal(counts[index]) / (sum(counts) + ambiguous)
        words = f"{_format_share(share)}, {_format_bound(bound, lower=is_best)}"
        colour = ACCENT if is_best and answer else _OTHER
        name = shorten(certificate.class_names[index])
        found.append(create_text(name, 7, bold=is_best and answer, spaceBefore=3))
        found.append(_draw_bar(float(share), float(bound), colour, words, width))
    return found


def _draw_bar(share: float, bound: float, colour: HexColor, words: str, width: float) -> Drawing:
    bar, height = width - 106, 8
    return Drawing(
        width,
        height + 3,
        Rect(0, 1, bar, height, fillColor=_BACK, strokeColor=None),
        Rect(0, 1, bar * share, height, fillColor=colour, strokeColor=None),
        Line(bar * bound, 0, bar * bound, height + 2, strokeColor=INK, strokeWidth=1),
        draw_text(words, bar + 8, 2.5),
    )


def round_down(radius: Decimal) -> str:
    """A radius with three decimals, rounded down."""
    return f"{radius.quantize(Decimal('0.001'), ROUND_DOWN):f}"


def _format_share(share: Decimal) -> str:
    """A share with one decimal. A share strictly between 0 and 1 never reads 0 % or 100 %."""
    if 0 < share < Decimal("0.0005"):
        return "< 0.1 %"
    return "> 99.9 %" if Decimal("0.9995") <= share < 1 else f"{100 * share:.1f} %"


def _format_bound(bound: Decimal, *, lower: bool) -> str:
    share = (100 * bound).quantize(Decimal("0.1"), ROUND_DOWN if lower else ROUND_CEILING)
    return f"at least {share} %" if lower else f"at most {share} %"


def _final_counts(certificate: Certificate) -> tuple[tuple[int, ...], int]:
    """The votes that the bounds rest on, and the number that fell on no class."""
    if isinstance(certificate, CertifiedByCohen | AbstainedByCohen):
        return certificate.counts_estimation, certificate.ambiguous
    return certificate.looks[-1].counts, certificate.looks[-1].ambiguous


def _find_top(certificate: Certificate) -> int:
    """The predicted class, or after an abstention the one that came closest."""
    if isinstance(certificate, CertifiedDocument):
        return certificate.class_index
    return certificate.closest_class_index
