"""The text of a report: bundled fonts, and text that cannot become markup."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, Table

from worker.contract.certificate.document import (
    AbstainedByCohen,
    AbstainedByStaged,
    CertifiedByCohen,
    CertifiedByStaged,
    CertifiedDocument,
)

Certificate = CertifiedByStaged | AbstainedByStaged | CertifiedByCohen | AbstainedByCohen

FONTS = Path(__file__).parents[3] / "vendor" / "dejavu-fonts"
PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, SOFT, ACCENT = map(HexColor, ("#17212b", "#4c5a68", "#0a5c8f"))
_LONGEST = 200


@cache
def load_fonts() -> frozenset[int]:
    """Registers the fonts once. Returns the characters that they have."""
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, FONTS / f"{name}.ttf"))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    faces = (pdfmetrics.getFont(name).face for name in (PLAIN, BOLD))
    return frozenset.intersection(*(frozenset(face.charToGlyph) for face in faces))


def spell(text: str) -> str:
    """The same text, with characters that the fonts lack spelled as code points, never left out."""
    known = load_fonts()
    return "".join(c if ord(c) in known and c.isprintable() else f"[U+{ord(c):04X}]" for c in text)


def shorten(name: str) -> str:
    """A name as it prints, cut with an ellipsis if it is too long for any table."""
    spelled = spell(name)
    return spelled if len(spelled) <= _LONGEST else f"{spelled[: _LONGEST - 1]}…"


def create_text(
    text: str, size: float = 7.5, colour: HexColor = INK, *, bold: bool = False, **style: float
) -> Paragraph:
    """Plain text that wraps; `style` takes further fields of reportlab's ParagraphStyle."""
    font = BOLD if bold else PLAIN
    look = {"fontSize": size, "leading": size * 1.35, "textColor": colour, **style}
    return Paragraph(escape(spell(text)), ParagraphStyle("", fontName=font, **look))


def create_grid(
    rows: Sequence[Sequence[object]],
    widths: Sequence[float],
    *style: tuple[object, ...],
    **options: object,
) -> Table:
    """Rows of flowables, or of lists of them, without lines or margins except those in `style`."""
    everywhere = (0, 0), (-1, -1)
    bare = [(f"{side}PADDING", *everywhere, 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")]
    look = [("VALIGN", *everywhere, "TOP"), *bare, *style]
    return Table(rows, colWidths=widths, style=look, **options)


def find_largest(certificates: Sequence[Certificate]) -> Certificate:
    """The certificate to head a report: the largest radius, or the first abstention.

    One for a frozen prompt covers less, so it never displaces one that covers more.
    """

    def rank(one: Certificate) -> tuple[bool, bool, Decimal]:
        if not isinstance(one, CertifiedDocument):
            return False, False, Decimal(-1)
        return True, one.guarantee_scope != "frozen_prompt", one.radius

    return max(certificates, key=rank)


SCOPES = {
    "global_prompt": "the whole classifier, its prompt fixed beforehand",
    "frozen_prompt": "this one frozen prompt, which depended on an image",
    "routed_pipeline": "classifier and choice of prompt together",
    "joint_pipeline": "classifier and tuning together",
}
"""What a certificate covers, in a few words."""
