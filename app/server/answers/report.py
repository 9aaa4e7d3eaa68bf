"""A finished certification on one printed page: image, figures, statement, digests.

The same certification and image give the same bytes: no time of printing, no random id.
"""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from io import BytesIO

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from app.server.answers.report_figures import (
    draw_image,
    draw_legend,
    draw_radii,
    draw_votes,
    round_down,
)
from app.server.answers.report_text import (
    ACCENT,
    BOLD,
    INK,
    PLAIN,
    SOFT,
    Certificate,
    draw_text,
    find_largest,
    fit,
    load_fonts,
    name_wording,
    shorten,
)
from app.server.answers.schemas import FinishedCertification
from worker.contract.certificate.document import CertifiedDocument
from worker.contract.image import Image

_WIDTH, _HEIGHT = map(float, A4)
_MARGIN = 40.0
_COLUMN = _WIDTH - 2 * _MARGIN
_SIDE = 138.0
_MOST_ROWS = 9
_NOT_SAID = (
    "It does not say that the class is the right diagnosis; nothing about larger changes, or about "
    "cropping, turning or windowing the picture before it became the image above; and an "
    "abstention is neither a class, nor a radius of zero, nor an error."
)


def create_report(found: FinishedCertification, image: Image | None) -> bytes:
    """The page as PDF, in A4.

    Args:
        found: a finished certification.
        image: the certified image, (3, H, W), or None where it is no longer stored.
    """
    file = BytesIO()
    load_fonts()
    canvas = Canvas(file, pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle(f"Certificate {found.id}")
    canvas.setSubject("Certified robustness. Research use only.")
    top = _draw_head(canvas, found)
    top = _draw_facts(canvas, found, image, top)
    top = _draw_rows(canvas, found.certificates, top - 14)
    top = _draw_figures(canvas, found.certificates, top - 16)
    top = _draw_statement(canvas, found.certificates, top - 14)
    _draw_digests(canvas, found, top - 10)
    _draw_foot(canvas)
    canvas.showPage()
    canvas.save()
    return file.getvalue()


def _draw_head(canvas: Canvas, found: FinishedCertification) -> float:
    top = _HEIGHT - _MARGIN
    canvas.setFont(BOLD, 15)
    canvas.setFillColor(INK)
    canvas.drawString(_MARGIN, top - 12, "Certificate of robustness")
    canvas.setFont(BOLD, 9)
    canvas.setStrokeColor("#9a3412")
    canvas.setFillColor("#9a3412")
    canvas.rect(_WIDTH - _MARGIN - 124, top - 17, 124, 19)
    canvas.drawCentredString(_WIDTH - _MARGIN - 62, top - 11, "RESEARCH USE ONLY")
    canvas.setFont(PLAIN, 7.5)
    canvas.setFillColor(SOFT)
    sent = f"{found.submitted_at:%Y-%m-%d %H:%M} UTC"
    canvas.drawString(_MARGIN, top - 25, f"Certification {found.id}, sent {sent}")
    return top - 36


def _draw_facts(
    canvas: Canvas, found: FinishedCertification, image: Image | None, top: float
) -> float:
    draw_image(canvas, image, x=_MARGIN, top=top, side=_SIDE)
    x, width = _MARGIN + _SIDE + 18, _COLUMN - _SIDE - 18
    best = find_largest(found.certificates)
    headline, claim = _summarize(found.certificates)
    top_text = draw_text(canvas, headline, x=x, top=top, width=width, size=15, bold=True)
    top_text = draw_text(canvas, claim, x=x, top=top_text - 4, width=width, size=9.5)
    for name, value in _list_facts(found, best):
        canvas.setFont(PLAIN, 7.5)
        canvas.setFillColor(SOFT)
        canvas.drawString(x, top_text - 13, name)
        top_text = draw_text(canvas, value, x=x + 92, top=top_text - 5, width=width - 92, size=7.5)
    return min(top - _SIDE, float(top_text))


def _summarize(certificates: Sequence[Certificate]) -> tuple[str, str]:
    """A headline, and the sentence below it."""
    certified = [c for c in certificates if isinstance(c, CertifiedDocument)]
    if not certified:
        return "Abstained", (
            "At no noise level was the answer constant enough for a claim. That is an outcome of "
            "its own, neither a class nor an error."
        )
    if len({c.prediction for c in certified}) > 1:
        return "It depends on the noise level and wording", (
            "Each has an answer that is proved, but they are not the same: the table says which."
        )
    best = find_largest(certified)
    assert isinstance(best, CertifiedDocument)
    return shorten(best.prediction, 60), (
        f"The smoothed answer is the same for every change of the image within l2 distance "
        f"{best.radius:.6f}, at noise level σ {best.sigma:f}."
    )


def _list_facts(found: FinishedCertification, best: Certificate) -> Sequence[tuple[str, str]]:
    image = found.input
    window = f", window {image.window[0]:g} / {image.window[1]:g}" if image.window else ""
    frame = f", frame {image.frame + 1} of {image.frames}" if image.frames > 1 else ""
    seen = f"{image.source}, {image.width} × {image.height} pixels, 8 bit{frame}{window}"
    together = ", for all certificates together" if best.joint else ", for each certificate"
    facts = [
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


_COLUMNS = (0.0, 30.0, 148.0, 212.0, 356.0, 408.0, 462.0)


def _draw_rows(canvas: Canvas, certificates: Sequence[Certificate], top: float) -> float:
    heads = ("σ", "wording", "outcome", "class", "radius", "samples", "α")
    canvas.setFont(BOLD, 7.5)
    canvas.setFillColor(INK)
    for place, head in zip(_COLUMNS, heads, strict=True):
        canvas.drawString(_MARGIN + place, top - 8, head)
    canvas.setStrokeColor("#8796a5")
    canvas.setLineWidth(0.6)
    canvas.line(_MARGIN, top - 11, _MARGIN + _COLUMN, top - 11)
    shown = certificates[:_MOST_ROWS]
    for row, certificate in enumerate(shown):
        _draw_row(canvas, certificate, top - 21 - 11.5 * row)
    top -= 14 + 11.5 * len(shown)
    if more := len(certificates) - len(shown):
        text = f"and {more} more in the JSON document"
        top = draw_text(canvas, text, x=_MARGIN, top=top, width=_COLUMN, size=7.5, colour=SOFT)
    return top


def _draw_row(canvas: Canvas, certificate: Certificate, y: float) -> None:
    certified = isinstance(certificate, CertifiedDocument)
    for column, (place, cell) in enumerate(zip(_COLUMNS, _cells(certificate), strict=True)):
        canvas.setFont(BOLD if column in (3, 4) and certified else PLAIN, 7.5)
        canvas.setFillColor(INK if certified else SOFT)
        canvas.drawString(_MARGIN + place, y, cell)


def _cells(certificate: Certificate) -> tuple[str, ...]:
    prediction, radius = "–", "–"
    if isinstance(certificate, CertifiedDocument):
        prediction = fit(certificate.prediction, width=138, bold=True)
        radius = round_down(certificate.radius)
    return (
        f"{certificate.sigma:f}",
        fit(name_wording(certificate), width=112),
        certificate.outcome,
        prediction,
        radius,
        f"{certificate.n_used:,}",
        f"{certificate.alpha:f}",
    )


def _draw_figures(canvas: Canvas, certificates: Sequence[Certificate], top: float) -> float:
    best, half = find_largest(certificates), _COLUMN * 0.46
    right = _MARGIN + half + 22
    _title(canvas, "Radius against noise level", _MARGIN, top)
    _title(canvas, f"{best.n_used:,} votes at σ {best.sigma:f}, {name_wording(best)}", right, top)
    draw_radii(canvas, certificates, x=_MARGIN, top=top - 8, width=half, height=136)
    draw_votes(canvas, best, x=right, top=top - 10, width=_COLUMN - half - 22)
    note = "The marks are the bounds that the radius is computed from."
    draw_text(canvas, note, x=right, top=top - 102, width=220, size=7, colour=SOFT)
    draw_legend(canvas, certificates, x=_MARGIN, y=top - 154, width=_COLUMN)
    several = len({name_wording(c) for c in certificates}) > 1
    return top - (170 if several else 146)


def _title(canvas: Canvas, text: str, x: float, top: float) -> None:
    canvas.setFont(BOLD, 8.5)
    canvas.setFillColor(INK)
    canvas.drawString(x, top - 6, fit(text, width=270, size=8.5, bold=True))


def _draw_statement(canvas: Canvas, certificates: tuple[Certificate, ...], top: float) -> float:
    best = find_largest(certificates)
    _title(canvas, "What it says", _MARGIN, top)
    text = shorten(best.statement, 1400)
    size = 8.2 if len(text) < 800 else 7
    top = draw_text(canvas, text, x=_MARGIN, top=top - 9, width=_COLUMN, size=size)
    _title(canvas, "What it does not say", _MARGIN, top - 8)
    top = draw_text(canvas, _NOT_SAID, x=_MARGIN, top=top - 17, width=_COLUMN, size=8.2)
    if len(certificates) == 1 or best.joint:
        return top
    text = (
        f"The certificate with the largest radius is quoted. Each of the {len(certificates)} holds "
        f"on its own; that the best of them, picked afterwards, is false has probability up to "
        f"{best.alpha * len(certificates):f}."
    )
    return draw_text(canvas, text, x=_MARGIN, top=top - 4, width=_COLUMN, size=7.5, colour=SOFT)


def _draw_digests(canvas: Canvas, found: FinishedCertification, top: float) -> None:
    best = find_largest(found.certificates)
    signed = "not signed" if found.signature is None else found.signature.value
    prompt = [] if best.prompt is None else [("prompt", best.prompt.sha256)]
    rows = [
        ("image", found.input.sha256),
        ("model", found.model.sha256),
        *prompt,
        ("noise key commitment", found.provenance.key_commitment),
        ("signature (Ed25519)", signed),
    ]
    for name, value in rows:
        canvas.setFont(PLAIN, 6.8)
        canvas.setFillColor(SOFT)
        canvas.drawString(_MARGIN, top - 8, name)
        canvas.setFillColor(INK)
        canvas.drawString(_MARGIN + 96, top - 8, value)
        top -= 10


def _draw_foot(canvas: Canvas) -> None:
    canvas.setStrokeColor(ACCENT)
    canvas.setLineWidth(0.8)
    canvas.line(_MARGIN, _MARGIN - 4, _WIDTH - _MARGIN, _MARGIN - 4)
    canvas.setFont(PLAIN, 7)
    canvas.setFillColor(SOFT)
    text = "This page proves nothing by itself: audit the JSON document, promptsmooth audit FILE."
    canvas.drawString(_MARGIN, _MARGIN - 14, text)
