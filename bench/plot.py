"""Line plots as SVG; pure. No more than the bench needs: two axes, lines with their names, a grid."""

import math
from collections.abc import Callable, Sequence
from html import escape

from bench.figures import Line, Plot, shown

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 190, 44, 56
_COLOURS = ("#0b6e4f", "#c1440e", "#1f4e9e", "#8a5a00", "#7b2d8b", "#444444")
_TICKS = 6

Scale = Callable[[float], float]


def draw(plot: Plot) -> str:
    """Return the plot as a whole SVG document."""
    xs = [x for line in plot.lines for x, _ in line.points]
    ys = [y for line in plot.lines for _, y in line.points]
    x_ticks, y_ticks = ticks(xs, log=plot.log_x), ticks(ys, log=plot.log_y)
    x_at = _scale(x_ticks, _LEFT, _WIDTH - _RIGHT, log=plot.log_x)
    y_at = _scale(y_ticks, _HEIGHT - _BOTTOM, _TOP, log=plot.log_y)
    body = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, plot.title, size=15),
        *_grid(x_ticks, y_ticks, x_at, y_at),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, plot.x, anchor="middle"),
        f'<g transform="rotate(-90 18 {_HEIGHT / 2:g})">{_text(18, _HEIGHT / 2, plot.y, anchor="middle")}</g>',
    ]
    for number, line in enumerate(plot.lines):
        body += _drawn(line, _COLOURS[number % len(_COLOURS)], number, x_at, y_at)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f"<title>{escape(plot.title)}</title>", *body, "</svg>\n"])


def ticks(values: Sequence[float], *, log: bool) -> list[float]:
    """Return where an axis has its marks: round numbers around all values, the first and the last included."""
    if log:
        low = math.floor(math.log2(min((v for v in values if v > 0), default=1)))
        high = math.ceil(math.log2(max((*values, 2**low * 2))))
        return [2.0**power for power in range(low, high + 1)]
    most = max(values, default=1) or 1
    step = _round_step(most / _TICKS)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def _scale(marks: Sequence[float], first: float, last: float, *, log: bool) -> Scale:
    def place(value: float) -> float:
        return math.log2(max(value, marks[0])) if log else value

    low, high = place(marks[0]), place(marks[-1])
    return lambda value: first + (place(value) - low) / (high - low) * (last - first)


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], x_at: Scale, y_at: Scale) -> list[str]:
    drawn = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for x in x_ticks:
        drawn.append(_stroke([(x_at(x), _TOP), (x_at(x), bottom)], "#dddddd", 1))
        drawn.append(_text(x_at(x), bottom + 18, _mark(x), anchor="middle"))
    for y in y_ticks:
        drawn.append(_stroke([(_LEFT, y_at(y)), (right, y_at(y))], "#dddddd", 1))
        drawn.append(_text(_LEFT - 8, y_at(y) + 4, _mark(y), anchor="end"))
    return drawn


def _drawn(line: Line, colour: str, number: int, x_at: Scale, y_at: Scale) -> list[str]:
    places = [(x_at(x), y_at(y)) for x, y in line.points]
    height = _TOP + 14 + 20 * number
    left = _WIDTH - _RIGHT + 14
    return [
        _stroke(places, colour, 2, dashed=line.dashed),
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places),
        _stroke([(left, height - 4), (left + 22, height - 4)], colour, 2, dashed=line.dashed),
        _text(left + 28, height, line.name),
    ]


def _stroke(places: Sequence[tuple[float, float]], colour: str, width: int, *, dashed: bool = False) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _mark(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else shown(value)
