"""A finished certification on paper: image, figures, statement, digests. Usually one page.

The same certification and image give the same bytes: no printing time and no random id.
"""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from functools import partial
from io import BytesIO

from reportlab.graphics.shapes import Drawing, Line, Rect
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Table

from app.request.goal import Goal, say_reasons
from app.request.wordings import name_wording
from app.server.answers.report.figures import (
    create_legend,
    create_picture,
    create_votes,
    draw_radii,
    draw_text,
    round_down,
)
from app.server.answers.report.text import (
    ACCENT,
    BOLD,
    INK,
    SCOPES,
    SOFT,
    Certificate,
    create_grid,
    create_text,
    find_largest,
    load_fonts,
    shorten,
)
from app.server.answers.report.witness import PrintedWitness, create_witness
from app.server.answers.schemas import FinishedCertification
from worker.contract.certificate.document import CertifiedDocument
from worker.contract.certificate.statement import covers_no_other_image
from worker.contract.image import Image

_WIDTH, _HEIGHT = A4
_MARGIN = 40.0
_COLUMN = _WIDTH - 2 * _MARGIN
_SIDE = 138.0  # of the certified image
_WARNING, _RULE = HexColor("#9a3412"), HexColor("#8796a5")
_NOT_SAID = (
    "It does not say that the class is the right diagnosis; nothing about larger changes, or about "
    "cropping, turning or windowing the picture before it became the image above; and an "
    "abstention is neither a class, nor a radius of zero, nor an error."
)


def create_report(
    found: FinishedCertification,
    image: Image | None,
    witness: PrintedWitness | None = None,
    *,
    is_left_out: bool = False,
) -> bytes:
    """The report as PDF, in A4.

    Args:
        found: a finished certification.
        image: the certified image, (3, H, W), or None if it is no longer stored or left out.
        witness: what was found from the other side, if anybody asked.
        is_left_out: whether the image is not shown because somebody asked for that.
    """
    file = BytesIO()
    load_fonts()
    margin = _MARGIN - 6  # reportlab's frame has 6 points of padding
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin + 36,
        bottomMargin=_MARGIN,
        title=f"Certificate {found.id}",
        subject="Certified robustness. Research use only.",
        author="anonymous",
        creator="anonymous",
        lang="en",
        invariant=1,
        pageCompression=1,
    )
    best = find_largest(found.certificates)
    story = [
        _create_facts(found, create_picture(image, _SIDE, is_left_out=is_left_out), best),
        _create_rows(found.certificates, found.goal),
        _create_figures(found, best),
        _create_title("What it says"),
        create_text(best.statement, 8.2),
        *create_witness(witness, image),
        KeepTogether([*_create_limits(found.certificates, best), _create_digests(found, best)]),
    ]
    page = partial(_draw_page, found)
    document.build(story, onFirstPage=page, onLaterPages=page)
    return file.getvalue()


def _draw_page(found: FinishedCertification, canvas: Canvas, document: SimpleDocTemplate) -> None:
    """What every page shows: which certification, research use only, and what it does not prove."""
    top, right, foot = _HEIGHT - _MARGIN, _WIDTH - _MARGIN, _MARGIN - 14
    sent = f"Certification {found.id}, sent {found.submitted_at:%Y-%m-%d %H:%M} UTC"
    proof = "This page proves nothing by itself: audit the JSON document, promptsmooth audit FILE."
    title = {"fontName": BOLD, "fontSize": 15, "fillColor": INK}
    warning = {"fontName": BOLD, "fontSize": 9, "fillColor": _WARNING}
    Drawing(
        _WIDTH,
        _HEIGHT,
        draw_text("Certificate of robustness", _MARGIN, top - 12, **title),
        draw_text(sent, _MARGIN, top - 25, fontSize=7.5),
        Rect(right - 124, top - 17, 124, 19, fillColor=None, strokeColor=_WARNING),
        draw_text("RESEARCH USE ONLY", right - 62, top - 11, "middle", **warning),
        Line(_MARGIN, foot + 10, right, foot + 10, strokeColor=ACCENT, strokeWidth=0.8),
        draw_text(proof, _MARGIN, foot),
        draw_text(f"page {document.page}", right, foot, "end"),
    ).drawOn(canvas, 0, 0)


def _create_facts(found: FinishedCertification, picture: Table, best: Certificate) -> Table:
    gap, names = 18.0, 92.0
    width = _COLUMN - _SIDE - gap
    headline, claim = _summarize(found.certificates, best)
    facts = [[create_text(n, colour=SOFT), create_text(v)] for n, v in _list_facts(found, best)]
    words = [
        *_answer_goal(found),
        create_text(headline, 15, bold=True, spaceAfter=4),
        create_text(claim, 9.5, spaceAfter=6),
        create_grid(facts, [names, width - names], ("BOTTOMPADDING", (0, 0), (-1, -1), 5)),
    ]
    return create_grid([[picture, words]], [_SIDE + gap, width])


def _answer_goal(found: FinishedCertification) -> Sequence[Paragraph]:
    """Yes or no, where the request asked about a radius."""
    if found.goal is None:
        return []
    reasons = say_reasons(found.certificates, found.goal)
    return [
        create_text(found.goal.headline, 12, ACCENT if found.goal.shown else INK, bold=True),
        create_text(reasons, 8, SOFT, spaceAfter=6),
    ]


def _summarize(certificates: Sequence[Certificate], best: Certificate) -> tuple[str, str]:
    """A headline and the sentence below it."""
    if not isinstance(best, CertifiedDocument):
        return "Abstained", (
            "At no noise level was the answer constant enough for a claim. That is an outcome of "
            "its own, neither a class nor an error."
        )
    if len({c.prediction for c in certificates if isinstance(c, CertifiedDocument)}) > 1:
        return "Contradictory", (
            "Noise levels or wordings have different answers, each within a radius of its own: the "
            "table says which. None of them is the answer of the model."
        )
    together = ", for all certificates together" if best.joint else ""
    no_other = " No other 8-bit image lies that near." if covers_no_other_image(best) else ""
    return shorten(best.prediction), (
        f"With confidence {1 - best.alpha:f}{together}, the smoothed answer is the same for every "
        f"8-bit image within l2 distance {best.radius:.6f}, at noise level σ {best.sigma:f}. "
        f"This covers {SCOPES[best.guarantee_scope]}.{no_other}"
    )


def _list_facts(found: FinishedCertification, best: Certificate) -> Sequence[tuple[str, str]]:
    image = found.input
    window = f", window {image.window[0]:g} / {image.window[1]:g}" if image.window else ""
    frame = f", frame {image.frame + 1} of {image.frames}" if image.frames > 1 else ""
    seen = f"{image.source}, {image.width} × {image.height} pixels, 8 bit{frame}{window}"
    together = ", for all certificates together" if best.joint else ", for each certificate"
    reference = [] if found.reference is None else [("reference", found.reference)]
    facts = [
        *reference,
        ("image", seen),
        ("model", found.model.id),
        ("error probability", f"α {best.alpha:f}{together}"),
    ]
    if isinstance(best, CertifiedDocument):
        levels = best.grey_levels
        change = f"by less than {_cut(levels.every_pixel)} of 255 grey levels"
        one = f"one pixel by less than {_cut(levels.one_pixel)}"
        facts.insert(0, ("that is", f"every pixel {change}, or {one}"))
    return facts


def _cut(levels: Decimal) -> str:
    return f"{levels.quantize(Decimal('0.01'), ROUND_DOWN):f}"


def _create_rows(certificates: Sequence[Certificate], goal: Goal | None) -> Table:
    heads = ["σ", "wording", "outcome", "class", "radius", "samples", "α"]
    rows, widths = [*map(_create_row, certificates)], [30, 132, 56, 156, 50, 50, _COLUMN - 474]
    if goal is not None:
        heads.append(f"≥ {goal.radius:f}")
        widths[1:] = [118, 52, 124, 42, 46, 38, _COLUMN - 450]
        for row, reached in zip(rows, goal.reached, strict=True):
            row.append(create_text("yes" if reached else "not shown"))
    everywhere = (0, 0), (-1, -1)
    return create_grid(
        [[create_text(head, bold=True) for head in heads], *rows],
        widths,
        ("LINEBELOW", (0, 0), (-1, 0), 0.6, _RULE),
        ("RIGHTPADDING", *everywhere, 6),
        ("TOPPADDING", *everywhere, 1.2),
        ("BOTTOMPADDING", *everywhere, 1),
        repeatRows=1,
        spaceBefore=14,
    )


def _create_row(certificate: Certificate) -> list[Paragraph]:
    prediction, radius, certified = "–", "–", False
    if isinstance(certificate, CertifiedDocument):
        prediction, radius = shorten(certificate.prediction), round_down(certificate.radius)
        certified = True
    cells = (
        f"{certificate.sigma:f}",
        name_wording(certificate),
        certificate.outcome,
        prediction,
        radius,
        f"{certificate.n_used:,}",
        f"{certificate.alpha:f}",
    )
    return [
        create_text(cell, colour=INK if certified else SOFT, bold=certified and column in (3, 4))
        for column, cell in enumerate(cells)
    ]


def _create_figures(found: FinishedCertification, best: Certificate) -> Flowable:
    goal = None if found.goal is None else found.goal.radius
    gap = 22.0
    left = _COLUMN * 0.46
    right = _COLUMN - left - gap
    votes = f"{best.n_used:,} votes at σ {best.sigma:f}, {name_wording(best)}"
    note = "The marks are the bounds that the radius is computed from."
    cells = [
        [
            _create_title("Radius against noise level"),
            draw_radii(found.certificates, left, 132, goal),
        ],
        [
            _create_title(votes),
            *create_votes(best, right),
            create_text(note, 7, SOFT, spaceBefore=5),
        ],
    ]
    grid = create_grid([cells], [left + gap, right], spaceBefore=14)
    return KeepTogether([grid, *create_legend(found.certificates)])


def _create_title(text: str) -> Paragraph:
    return create_text(text, 8.5, bold=True, spaceBefore=9, keepWithNext=1)


def _create_limits(certificates: Sequence[Certificate], best: Certificate) -> Sequence[Paragraph]:
    limits = [_create_title("What it does not say"), create_text(_NOT_SAID, 8.2)]
    if len(certificates) > 1 and isinstance(best, CertifiedDocument) and not best.joint:
        text = (
            f"The certificate with the largest radius is quoted. Each of the {len(certificates)} "
            f"holds on its own; that the best of them, picked afterwards, is false has "
            f"probability up to {best.alpha * len(certificates):f}."
        )
        limits.append(create_text(text, colour=SOFT, spaceBefore=4))
    return limits


def _create_digests(found: FinishedCertification, best: Certificate) -> Table:
    signed = "not signed" if found.signature is None else found.signature.value
    prompt = [] if best.prompt is None else [("prompt", best.prompt.sha256)]
    rows = [
        ("image", found.input.sha256),
        ("model", found.model.sha256),
        *prompt,
        ("noise key commitment", found.provenance.key_commitment),
        ("signature (Ed25519)", signed),
    ]
    cells = [[create_text(name, 6.8, SOFT), create_text(value, 6.8)] for name, value in rows]
    return create_grid(cells, [96, _COLUMN - 96], spaceBefore=12)
