"""The words of a report: fonts that travel with it, and text that cannot become markup."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

from worker.contract.certificate.document import (
    AbstainedByCohen,
    AbstainedByStaged,
    CertifiedByCohen,
    CertifiedByStaged,
    CertifiedDocument,
)

Certificate = CertifiedByStaged | AbstainedByStaged | CertifiedByCohen | AbstainedByCohen

FONTS = Path(__file__).parents[2] / "vendor" / "dejavu-fonts"
PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, SOFT, ACCENT = "#17212b", "#4c5a68", "#0a5c8f"


@cache
def load_fonts() -> frozenset[int]:
    """Registers the fonts once; the characters that they have."""
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, FONTS / f"{name}.ttf"))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    faces = (pdfmetrics.getFont(name).face for name in (PLAIN, BOLD))
    return frozenset.intersection(*(frozenset(face.charToGlyph) for face in faces))


def printable(text: str) -> str:
    """The same text; what the fonts lack is spelled as its code point, never left out."""
    known = load_fonts()
    return "".join(c if ord(c) in known and c.isprintable() else f"[U+{ord(c):04X}]" for c in text)


def shorten(text: str, most: int) -> str:
    """At most so many characters, with a mark where some are left out."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def fit(text: str, *, width: float, size: float = 7.5, bold: bool = False) -> str:
    """The text as it can be printed, with a mark where its end does not fit."""
    text = printable(shorten(text, 200))
    font = BOLD if bold else PLAIN
    if pdfmetrics.stringWidth(text, font, size) <= width:
        return text
    while text and pdfmetrics.stringWidth(f"{text}…", font, size) > width:
        text = text[:-1]
    return f"{text}…"


def draw_text(
    canvas: Canvas,
    text: str,
    *,
    x: float,
    top: float,
    width: float,
    size: float = 8.0,
    colour: str = INK,
    bold: bool = False,
) -> float:
    """Sets plain text in a column and returns where it ends, in points from the page's bottom."""
    load_fonts()
    style = ParagraphStyle(
        "text", fontName=BOLD if bold else PLAIN, fontSize=size, leading=size * 1.35
    )
    style.textColor = colour
    style.splitLongWords = True
    paragraph = Paragraph(escape(printable(text)), style)
    _, height = paragraph.wrap(width, 10_000)
    paragraph.drawOn(canvas, x, top - height)
    return float(top - height)


def find_largest(certificates: Sequence[Certificate]) -> Certificate:
    """The certificate with the largest radius, else the first abstention."""
    return max(certificates, key=lambda c: c.radius if isinstance(c, CertifiedDocument) else -1)


def name_wording(certificate: Certificate) -> str:
    """How class names became what the image is compared with, in a few words."""
    if certificate.prompting == "few-shot" and certificate.prompt is not None:
        return f"few-shot {certificate.prompt.id}"
    return certificate.prompting
