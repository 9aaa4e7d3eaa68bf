"""What the pages of a dossier are set with: measures, headings, tables and lists."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.platypus import Flowable, Paragraph, Table

from app.server.answers.report.text import ACCENT, INK, SOFT, create_grid, create_text
from worker.evaluation.dossier.document import Dossier, RowFigures
from worker.evaluation.results import Arm

WIDTH, HEIGHT = A4
MARGIN = 46.0
COLUMN: float = WIDTH - 2 * MARGIN
RULE, SHADE, WARNING = map(HexColor, ("#c3ccd5", "#f2f5f8", "#9a3412"))
_BODY, _CELL = 8.6, 7.4
_FEW_ROWS, _FEW_CHARS = 14, 80  # a table of so many rows with such cells fits on one page
_PER_TABLE = 5

Row = tuple[Arm, RowFigures]
Level = tuple[str, list[Row]]


def create_heading(text: str) -> Paragraph:
    """The heading of a section; it stays with what follows."""
    return create_text(text, 12, ACCENT, bold=True, spaceBefore=16, spaceAfter=5, keepWithNext=1)


def create_title(text: str) -> Paragraph:
    """The title of a table or figure; it stays with what follows."""
    return create_text(text, _BODY, bold=True, spaceBefore=8, spaceAfter=3, keepWithNext=1)


def create_body(text: str) -> Paragraph:
    """A paragraph of running text."""
    return create_text(text, _BODY, spaceAfter=4)


def create_lead(text: str) -> Paragraph:
    """The first paragraph of a section with a table or figure; it stays with what follows."""
    return create_text(text, _BODY, spaceAfter=4, keepWithNext=1)


def create_note(text: str) -> Paragraph:
    """A paragraph that explains the columns of a table above it."""
    return create_text(text, _CELL, SOFT, spaceBefore=2, spaceAfter=4)


def create_list(texts: Sequence[str]) -> list[Flowable]:
    """Numbered paragraphs."""
    return [
        create_grid(
            [[create_text(f"{number}.", _BODY, SOFT), create_body(text)]], [18, COLUMN - 18]
        )
        for number, text in enumerate(texts, start=1)
    ]


def create_facts(facts: Sequence[tuple[str, str]]) -> Table:
    """Names beside values; rows may be split over pages."""
    cells = [[create_text(name, _CELL, SOFT), create_text(text, _CELL)] for name, text in facts]
    return create_grid(
        cells,
        [96, COLUMN - 96],
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("LINEBELOW", (0, 0), (-1, -2), 0.3, RULE),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
    )


def create_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], first: float, *, bold: Sequence[int] = ()
) -> Flowable:
    """A table whose first column is `first` points wide; the others share the rest.

    Its head is repeated on every page. A short table is not split.

    Args:
        heads: the heads of the columns.
        rows: the cells; a line break in a cell begins a smaller line.
        first: the width of the first column.
        bold: the rows that are set in bold, from 0.
    """
    head = [create_text(text, _CELL, bold=True) for text in heads]
    cells = [
        [_create_cell(text, bold=place in bold) for text in row] for place, row in enumerate(rows)
    ]
    widths = [first, *[(COLUMN - first) / (len(heads) - 1)] * (len(heads) - 1)]
    everywhere = (0, 0), (-1, -1)
    short = len(rows) <= _FEW_ROWS and max(len(cell) for row in rows for cell in row) <= _FEW_CHARS
    whole = [("NOSPLIT", (0, 0), (0, -1))] if short else []
    return create_grid(
        [head, *cells],
        widths,
        ("LINEBELOW", (0, 0), (-1, 0), 0.7, INK),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [None, SHADE]),
        ("LEFTPADDING", *everywhere, 3),
        ("RIGHTPADDING", *everywhere, 3),
        ("TOPPADDING", *everywhere, 2),
        ("BOTTOMPADDING", *everywhere, 2.2),
        *whole,
        repeatRows=1,
        spaceBefore=6,
        spaceAfter=6,
    )


def _create_cell(text: str, *, bold: bool) -> list[Paragraph]:
    first, *others = text.split("\n")
    return [
        create_text(first, _CELL, bold=bold),
        *(create_text(other, 6.2, SOFT) for other in others),
    ]


def list_levels(dossier: Dossier) -> Iterator[Level]:
    """The rows of each noise level, under its name."""
    rows = zip(dossier.results.arms, dossier.rows, strict=True)
    for sigma, group in groupby(rows, key=lambda row: row[0].sigma):
        yield f"σ = {sigma:f}", list(group)


def divide(level: Level) -> Iterator[Level]:
    """A noise level in parts whose rows fit side by side as columns of one table."""
    title, rows = level
    for start in range(0, len(rows), _PER_TABLE):
        yield title, rows[start : start + _PER_TABLE]
