"""A line chart in characters: one value a round, one line a site, each with a shape of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

from fedtui.tui.text import Glyphs, Line

Raster = Literal["blocks", "braille", "ascii"]
MARKERS = "ox+*#@%&$="  # joint first; shapes differ where colours cannot
_DOTS: dict[Raster, tuple[int, int]] = {"ascii": (1, 1), "blocks": (1, 2), "braille": (2, 4)}
_BLOCKS = {1: "▀", 2: "▄", 3: "█"}
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # [row][column] of U+2800
_DECADE = 5.0  # from this ratio on, a logarithmic axis has 1, 2 and 5 of each power of ten
LEAST = 4  # lines of a chart: two of values, two of rounds
_MARKER_GAP = 5  # columns between two markers of one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: ``points`` are (round, value), rounds ascending, values finite."""

    name: str
    marker: str
    role: str
    points: tuple[tuple[int, float], ...]


def draw(
    series: Sequence[Series],
    *,
    width: int,
    height: int,
    glyphs: Glyphs,
    raster: Raster = "blocks",
    rounds: int = 0,
    log: bool = False,
) -> list[Line]:
    """The chart in ``height`` lines of ``width``; the last two are the axis of rounds.

    Args:
        rounds: How many are planned; the axis ends there at the latest.
        log: Whether equal ratios take equal heights; no value may be 0 or less.
    """
    values = [value for s in series for _, value in s.points]
    if not values or height < LEAST or width < 20:
        return []
    if glyphs.ascii:
        raster = "ascii"
    rows = height - 2
    scale = math.log10 if log else float
    ticks, digits = _ticks(min(values), max(values), max(1, rows - 1))
    if log and (ticks[0] <= 0 or ticks[-1] / ticks[0] >= _DECADE):
        ticks, digits = _ratios(min(values), max(values)), 0
    low, high = scale(ticks[0]), scale(ticks[-1])
    labels = _labels([(scale(tick), _label(tick, digits)) for tick in ticks], rows)
    gutter = max(map(len, labels.values()))
    columns = width - gutter - 1
    first = min(s.points[0][0] for s in series if s.points)
    last = _end(first, max(s.points[-1][0] for s in series if s.points), rounds)
    canvas = _Canvas(columns, rows, raster)
    places = []
    for one in reversed(series):  # the joint line comes first and is drawn over the others
        dots = [
            (
                (number - first) / (last - first) * (canvas.width - 1),
                (high - scale(value)) / (high - low) * (canvas.height - 1),
            )
            for number, value in one.points
        ]
        canvas.trace(_columns(dots), one.role)
        places.append((one, dots))
    for one, dots in places:
        canvas.mark(dots, one.marker, one.role)
    lines = []
    for row in range(rows):
        label = labels.get(row, "")
        edge = "┤" if label else "│"
        head = ((f"{label:>{gutter}}", "dim"), (edge if not glyphs.ascii else "|", "frame"))
        lines.append((*head, *canvas.row(row)))
    return [*lines, *_axis(first, last, columns, gutter, glyphs)]


class _Canvas:
    """Dots finer than characters, then characters: a cell keeps the dots of one line only."""

    def __init__(self, columns: int, rows: int, raster: Raster) -> None:
        self._dots = _DOTS[raster]
        self._raster = raster
        self._columns, self._rows = columns, rows
        self._cells: dict[tuple[int, int], tuple[int, str]] = {}
        self._marks: dict[tuple[int, int], tuple[str, str]] = {}
        self.width, self.height = columns * self._dots[0], rows * self._dots[1]

    def trace(self, heights: dict[int, float], role: str) -> None:
        before = None
        for x, y in heights.items():
            here = round(y)
            start = here if before is None else before + (here > before) - (here < before)
            for dot in range(min(start, here), max(start, here) + 1):
                self._set(x, dot, role)
            before = here

    def mark(self, dots: list[tuple[float, float]], marker: str, role: str) -> None:
        last = math.inf
        for x, y in reversed(dots):  # from the newest, which is always marked
            cell = (round(x) // self._dots[0], round(y) // self._dots[1])
            if last - cell[0] >= _MARKER_GAP:
                self._marks[cell] = (marker, role)
                last = cell[0]

    def row(self, row: int) -> Line:
        spans: list[tuple[str, str]] = []
        for column in range(self._columns):
            text, role = self._marks.get((column, row)) or self._cell(column, row)
            if spans and spans[-1][1] == role:
                spans[-1] = (spans[-1][0] + text, role)
            else:
                spans.append((text, role))
        return tuple(spans)

    def _set(self, x: int, y: int, role: str) -> None:
        wide, tall = self._dots
        cell = (x // wide, y // tall)
        bit = _BRAILLE[y % tall][x % wide] if self._raster == "braille" else 1 << (y % tall)
        mask, owner = self._cells.get(cell, (0, role))
        self._cells[cell] = (mask | bit if owner == role else bit, role)

    def _cell(self, column: int, row: int) -> tuple[str, str]:
        mask, role = self._cells.get((column, row), (0, ""))
        if not mask:
            return " ", ""
        if self._raster == "ascii":
            return ".", role
        if self._raster == "braille":
            return chr(0x2800 + mask), role
        return _BLOCKS[mask], role


def _columns(dots: list[tuple[float, float]]) -> dict[int, float]:
    """A height for every dot column between the first and last point: means, straight lines."""
    sums: dict[int, list[float]] = {}
    for x, y in dots:
        sums.setdefault(round(x), []).append(y)
    known = [(x, sum(ys) / len(ys)) for x, ys in sums.items()]
    heights: dict[int, float] = {}
    for (x1, y1), (x2, y2) in pairwise(known):
        for x in range(x1, x2):
            heights[x] = y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    if known:
        heights[known[-1][0]] = known[-1][1]
    return heights


def _ticks(low: float, high: float, most: int) -> tuple[list[float], int]:
    """At most ``most`` even steps that hold every value, and the decimals their labels need."""
    spread = high - low or abs(high) or 1.0
    least = math.floor(math.log10(spread / most))
    for exponent, factor in product((least, least + 1), (1, 2, 5)):
        step = factor * 10.0**exponent
        start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if stop - start <= most and stop > start:
            break
    else:
        start, stop = math.floor(low / step), math.floor(low / step) + 1
    return [i * step for i in range(start, stop + 1)], max(0, -exponent)


def _ratios(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten that is needed to hold both."""
    steps = [
        factor * 10.0**exponent
        for exponent in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
        for factor in (1, 2, 5)
    ]
    start = max(i for i, step in enumerate(steps) if step <= low * (1 + 1e-9))
    stop = min(i for i, step in enumerate(steps) if step >= high * (1 - 1e-9) and i > start)
    return steps[start : stop + 1]


def _label(tick: float, digits: int) -> str:
    return f"{tick:.{digits}f}" if digits or tick == int(tick) else f"{tick:g}"


def _labels(ticks: list[tuple[float, str]], rows: int) -> dict[int, str]:
    """The ticks by row, with a row between any two of them."""
    labels: dict[int, str] = {}
    low, high = ticks[0][0], ticks[-1][0]
    for tick, label in sorted(ticks, key=lambda t: t[0] not in (low, high)):
        row = round((high - tick) / (high - low) * (rows - 1))
        if not labels.keys() & {row - 1, row, row + 1}:
            labels[row] = label
    return labels


def bars(
    values: Sequence[float], *, unit: str, width: int, height: int, glyphs: Glyphs
) -> list[Line]:
    """A histogram: a line for each of at most ``height`` even classes, with how many are in it."""
    if not values or height < 2 or width < 20:
        return []
    edges, digits = _ticks(min(values), max(values), height)
    counts = [0] * (len(edges) - 1)
    for value in values:  # a value on an edge belongs to the class that it begins
        at = sum(edge <= value + 1e-9 for edge in edges) - 1
        counts[min(at, len(counts) - 1)] += 1
    names = [f"{a:.{digits}f}-{b:.{digits}f} {unit}" for a, b in pairwise(edges)]
    gutter, most = max(map(len, names)), max(counts)
    room = width - gutter - len(str(most)) - 3
    return [
        (
            (f"{name:>{gutter}} ", "dim"),
            (glyphs.vertical, "frame"),
            (glyphs.bar * max(1 if count else 0, round(room * count / most)), "work"),
            (f" {count}" if count else "", ""),
        )
        for name, count in zip(names, counts, strict=True)
    ]


def _end(first: int, last: int, planned: int) -> int:
    """Where the axis of rounds ends: a round number ahead, so that it is redrawn seldom."""
    end = 10
    while end < last:
        end = end * 5 // 2 if str(end).startswith("2") else end * 2
    return max(last, first + 1, min(end, planned or end))


def _axis(first: int, last: int, columns: int, gutter: int, glyphs: Glyphs) -> list[Line]:
    step = 1
    while (last - first) / step * 6 > columns:  # six columns a label
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    edge, labels = [glyphs.horizontal] * columns, [" "] * (columns + gutter + 1)
    for number in range(first, last + 1):
        if number != first and number % step:
            continue
        at = round((number - first) / (last - first) * (columns - 1))
        text = str(number)
        start = min(gutter + 1 + at - len(text) // 2, len(labels) - len(text))
        edge[at] = glyphs.tick
        if all(c == " " for c in labels[max(0, start - 1) : start + len(text) + 1]):
            labels[start : start + len(text)] = text
    return [
        ((" " * gutter, ""), (glyphs.corner + "".join(edge), "frame")),
        (("".join(labels), "dim"),),
    ]
