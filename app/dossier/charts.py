"""The figures of a dossier, drawn as vectors: accuracy against radius, and where the radii lie."""

from collections.abc import Iterator, Sequence

from reportlab.graphics.shapes import Drawing, Line, PolyLine, Rect
from reportlab.lib.colors import HexColor
from reportlab.platypus import Flowable, KeepTogether, Table

from app.dossier.style import COLUMN, Level, Row, create_title
from app.server.answers.report.figures import draw_text
from app.server.answers.report.text import (
    BOLD,
    INK,
    SOFT,
    create_grid,
    create_text,
    shorten,
)
from worker.evaluation.plot import COLOURS, create_steps
from worker.evaluation.results import Arm

_GRID = HexColor("#d5dce3")
_DASHES = (None, (5, 2), (5, 2, 1, 2), (1.5, 1.5))
_PANEL_HEIGHT, _GAP = 148.0, 18.0
_LEFT, _FLOOR = 26.0, 26.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_MOST_TICKS = 6
_NAMES, _LANE = 132.0, 15.0
_SAMPLE, _LEGEND_COLUMNS = 26.0, 3


def draw_accuracy(levels: Sequence[Level]) -> list[Flowable]:
    """Certified accuracy against radius: a panel per noise level, two beside one another."""
    width = (COLUMN - _GAP) / 2
    panels = [_draw_panel(level, width) for level in levels]
    pairs = [panels[start : start + 2] for start in range(0, len(panels), 2)]
    grids = [
        create_grid([[*pair, *[""] * (2 - len(pair))]], [width + _GAP, width], spaceAfter=6)
        for pair in pairs
    ]
    return [*grids[:-1], KeepTogether([grids[-1], *_create_legend(levels)])]


def _draw_panel(level: Level, width: float) -> Drawing:
    title, rows = level
    right, top = width - 4, _PANEL_HEIGHT - 16
    highest = find_highest([level])
    drawing = Drawing(width, _PANEL_HEIGHT)
    drawing.add(draw_text(title, _LEFT, top + 7, fontName=BOLD, fontSize=7.6, fillColor=INK))
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _FLOOR + share * (top - _FLOOR)
        drawing.add(Line(_LEFT, y, right, y, strokeColor=_GRID, strokeWidth=0.5))
        drawing.add(draw_text(f"{share:g}", _LEFT - 4, y - 2.4, "end", fontSize=6.6))
    for tick in list_ticks(highest):
        x = _LEFT + tick / highest * (right - _LEFT)
        drawing.add(Line(x, _FLOOR, x, _FLOOR - 3, strokeColor=SOFT, strokeWidth=0.6))
        drawing.add(draw_text(f"{tick:g}", x, _FLOOR - 11, "middle", fontSize=6.6))
    middle = (_LEFT + right) / 2
    drawing.add(draw_text("l2 radius, pixels in [0, 1]", middle, 3, "middle", fontSize=6.6))
    for place, (arm, _) in enumerate(rows):
        drawing.add(_draw_steps(arm, place, highest, right, top))
    return drawing


def _draw_steps(arm: Arm, place: int, highest: float, right: float, top: float) -> PolyLine:
    """Each share holds up to its own radius."""
    radii, shares = create_steps(arm.right_radii, arm.images)
    xs = [_LEFT + radius / highest * (right - _LEFT) for radius in radii]
    ys = [_FLOOR + share * (top - _FLOOR) for share in shares]
    points = [xs[0], ys[0]]
    for before, x, y in zip(xs, xs[1:], ys[1:], strict=False):
        points += [before, y, x, y]
    return _draw_line(points, arm, place)


def _draw_line(points: Sequence[float], arm: Arm, place: int) -> PolyLine:
    return PolyLine(
        points,
        strokeColor=HexColor(_find_colour(arm)),
        strokeWidth=1.3,
        strokeDashArray=_DASHES[place % len(_DASHES)],
    )


def _find_colour(arm: Arm) -> str:
    return COLOURS[arm.baseline or arm.target.prompting]


def _create_legend(levels: Sequence[Level]) -> Iterator[Table]:
    """Which line stands for which row. Rows have one place, and one line, at every noise level."""
    samples = {
        arm.label: _draw_line([0, 3, _SAMPLE, 3], arm, place)
        for _, rows in levels
        for place, (arm, _) in enumerate(rows)
    }
    cells = [
        [Drawing(_SAMPLE + 6, 9, line), create_text(shorten(label), 7)]
        for label, line in samples.items()
    ]
    names = COLUMN / _LEGEND_COLUMNS - _SAMPLE - 6
    for start in range(0, len(cells), _LEGEND_COLUMNS):
        row = [cell for pair in cells[start : start + _LEGEND_COLUMNS] for cell in pair]
        row += [""] * (2 * _LEGEND_COLUMNS - len(row))
        yield create_grid([row], [_SAMPLE + 6, names] * _LEGEND_COLUMNS)


def draw_radii(levels: Sequence[Level]) -> Iterator[Flowable]:
    """Where the radii of right answers lie: smallest, quartiles, largest. One axis for all."""
    highest = find_highest(levels)
    for level in levels:
        yield KeepTogether([create_title(level[0]), _draw_lanes(level[1], highest)])


def _draw_lanes(rows: Sequence[Row], highest: float) -> Table:
    height = _LANE * len(rows) + 16
    drawing = Drawing(COLUMN, height)
    right: float = COLUMN - 62

    def place(radius: float) -> float:
        return _NAMES + radius / highest * (right - _NAMES)

    for tick in list_ticks(highest):
        x = place(tick)
        drawing.add(Line(x, 13, x, height, strokeColor=_GRID, strokeWidth=0.5))
        drawing.add(draw_text(f"{tick:g}", x, 3, "middle", fontSize=6.6))
    for number, (arm, figures) in enumerate(rows):
        y = height - _LANE * (number + 0.5)
        look = {"fillColor": INK, "fontSize": 7.2}
        drawing.add(draw_text(_shorten(arm.label), 0, y - 2.5, **look))
        count = f"{len(arm.right_radii)} of {arm.images}"
        drawing.add(draw_text(count, COLUMN, y - 2.5, "end"))
        if figures.quantiles:
            lowest, lower, median, upper, largest = map(place, map(float, figures.quantiles))
            colour = HexColor(_find_colour(arm))
            drawing.add(Line(lowest, y, largest, y, strokeColor=colour, strokeWidth=1))
            box = {"fillColor": colour, "strokeColor": colour, "fillOpacity": 0.35}
            drawing.add(Rect(lower, y - 4, max(upper - lower, 0.6), 8, **box))
            drawing.add(Line(median, y - 5, median, y + 5, strokeColor=INK, strokeWidth=1.6))
    return create_grid([[drawing]], [COLUMN])


def _shorten(label: str) -> str:
    shown = shorten(label)
    return shown if len(shown) <= 30 else f"{shown[:29]}…"


def find_highest(levels: Sequence[Level]) -> float:
    """The end of the axis: the largest radius of a right answer, or 1 if there is none."""
    radii: list[float] = [
        float(r) for _, rows in levels for arm, _ in rows for r in arm.right_radii
    ]
    largest = max(radii, default=0.0)
    return 1.04 * largest or 1.0


def list_ticks(highest: float) -> Iterator[float]:
    """Round numbers from 0 up to `highest`, at most seven."""
    step = next((one for one in _STEPS if highest / one <= _MOST_TICKS), highest)
    for number in range(int(highest / step) + 1):
        yield number * step
