"""Charts as inline SVG: no script and no file from elsewhere, colours from the page's style."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from fedtui.report.comparison import Estimate
from fedtui.report.text import number

_WIDTH = 720  # of every chart, in user units; the page scales it to its column
_ROW = 30  # of a forest plot
_LEFT, _RIGHT = 150, 200  # for names, and for numbers beside the marks
_TICKS = 5
SERIES = 8  # colours there are, see the page's style; the ninth series begins anew


def forest(
    rows: Sequence[tuple[str, Estimate]],
    *,
    title: str,
    axis: str,
    reference: float,
    signed: bool = False,
) -> str:
    """Estimates with intervals one below the other, and a line at what they are held against."""
    told = [(name, estimate) for name, estimate in rows if estimate.value is not None]
    if not told:
        return ""
    ends = [reference]
    for _, e in told:
        ends += [value for value in (e.value, e.low, e.high) if value is not None]
    low, high = _padded(min(ends), max(ends))
    height = _ROW * len(rows) + 62

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    bottom = _ROW * len(rows) + 14
    parts = [_grid(low, high, x, bottom)]
    parts.append(_line(x(reference), 8, x(reference), bottom, "reference"))
    for k, (name, e) in enumerate(rows):
        y = _ROW * k + 26
        parts.append(_words(_LEFT - 12, y + 4, name, "end"))
        if e.value is None:
            parts.append(_words(_LEFT + 4, y + 4, "not told", "start", "muted"))
            continue
        if e.low is not None and e.high is not None:
            parts.append(_line(x(e.low), y, x(e.high), y, "interval"))
            for end in (e.low, e.high):
                parts.append(_line(x(end), y - 5, x(end), y + 5, "interval"))
        parts.append(f'<circle class="mark" cx="{x(e.value):.1f}" cy="{y}" r="5"/>')
        shown = number(e.value, signed=signed)
        if e.low is not None and e.high is not None:
            ends_ = (number(e.low, signed=signed), number(e.high, signed=signed))
            shown += f" ({ends_[0]} to {ends_[1]})"
        parts.append(_words(_WIDTH - _RIGHT + 14, y + 4, shown, "start"))
    parts.append(_words((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, axis, "middle", "muted"))
    return _svg(title, height, parts)


def lines(series: Mapping[str, Sequence[tuple[int, float]]], *, title: str, axis: str) -> str:
    """Values by round, one line a series, each named at its end."""
    points = [point for each in series.values() for point in each]
    if len(points) < 2:
        return ""
    first, last = min(r for r, _ in points), max(r for r, _ in points)
    low, high = _padded(min(v for _, v in points), max(v for _, v in points))
    height, top, bottom, left, right = 320, 14, 270, 56, _WIDTH - 150

    def x(round: int) -> float:
        return left + (round - first) / max(1, last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for value, shown in _ticks(low, high):
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_words(left - 8, y(value) + 4, shown, "end", "muted"))
    for round in sorted({first, last, *_rounds(first, last)}):
        parts.append(_words(x(round), bottom + 20, str(round), "middle", "muted"))
    names = []
    for k, (name, each) in enumerate(series.items()):
        if not each:
            continue
        path = " ".join(f"{x(r):.1f},{y(v):.1f}" for r, v in each)
        parts.append(f'<polyline class="line s{k % SERIES}" points="{path}"/>')
        names.append((y(each[-1][1]), k, name))
    parts += _labels(names, right + 10)
    parts.append(_words((left + right) / 2, bottom + 42, axis, "middle", "muted"))
    return _svg(title, height, parts)


def _labels(names: list[tuple[float, int, str]], x: float) -> list[str]:
    """The series' names at their ends, moved apart where they would overlap."""
    parts, above = [], -100.0
    for y, k, name in sorted(names):
        above = max(y, above + 16)
        parts.append(_words(x, above + 4, name, "start", f"name s{k % SERIES}"))
    return parts


def _rounds(first: int, last: int) -> range:
    step = max(1, (last - first) // _TICKS)
    return range(first, last + 1, step)


def _grid(low: float, high: float, x: Callable[[float], float], bottom: float) -> str:
    parts = []
    for value, shown in _ticks(low, high):
        parts.append(_line(x(value), 8, x(value), bottom, "grid"))
        parts.append(_words(x(value), bottom + 18, shown, "middle", "muted"))
    return "".join(parts)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers from low to high, about five, as they are printed."""
    power = math.floor(math.log10((high - low) / _TICKS))
    step = next(s for s in (10**power * k for k in (1, 2, 5, 10)) if (high - low) / s <= _TICKS + 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    values = [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{value + 0.0:.{digits}f}") for value in values]


def _padded(low: float, high: float) -> tuple[float, float]:
    spread = (high - low) or 1.0
    return low - spread * 0.06, high + spread * 0.06


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _words(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    told = escape(title)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{told}">'
        f"<title>{told}</title>{''.join(parts)}</svg>"
    )
