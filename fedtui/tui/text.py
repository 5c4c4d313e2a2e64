"""Lines of styled text: what every panel is made of, and how panels are put side by side.

A line is spans of (text, role). A role is a word such as 'warn'; ``widgets.lines`` gives it a
style, so that panels know nothing of colours and can be tested as plain text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Span = tuple[str, str]
Line = tuple[Span, ...]
Align = Literal["<", ">"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters that a terminal can show, beyond letters."""

    ascii: bool
    horizontal: str
    vertical: str
    top: str
    middle: str
    bottom: str
    bar: str
    rest: str
    cursor: str
    ellipsis: str
    tick: str
    corner: str
    dots: str


# U+2500-257F and U+2580-2588 only: what common Windows fonts have (TERMINAL.md 3.5)
UNICODE = Glyphs(
    ascii=False,
    horizontal="─",
    vertical="│",
    top="┌┐",
    middle="├┤",
    bottom="└┘",
    bar="█",
    rest="─",
    cursor="█",
    ellipsis="…",
    tick="┴",
    corner="└",
    dots="…",
)
ASCII = Glyphs(
    ascii=True,
    horizontal="-",
    vertical="|",
    top="++",
    middle="++",
    bottom="++",
    bar="#",
    rest="-",
    cursor=">",
    ellipsis="~",
    tick="+",
    corner="+",
    dots="...",
)
_PLAIN = str.maketrans("─│┌┐├┤└┘┬┴┼█▀▄▌▐…–—·×’‘“”åäöÅÄÖéü", '-|+++++++++#"_##~--.x\'\'""aaoAAOeu')


def to_ascii(text: str) -> str:
    """``text`` in ASCII, one character for one; what has no likeness becomes '?'."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else "?" for c in text.translate(_PLAIN))


def line(*spans: Span | str) -> Line:
    """A line from spans and bare words."""
    return tuple((span, "") if isinstance(span, str) else span for span in spans)


def length(of: Line) -> int:
    """Cells that a line takes; every character here is one cell wide."""
    return sum(len(text) for text, _ in of)


def plain(of: Line) -> str:
    """The line's characters alone."""
    return "".join(text for text, _ in of)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """``text`` in at most ``width`` cells; what is lost leaves an ellipsis."""
    if len(text) <= width:
        return text
    return text[: max(0, width - 1)] + ellipsis if width > 0 else ""


def fit(of: Line, width: int, ellipsis: str = "…") -> Line:
    """The line in exactly ``width`` cells, cut or padded."""
    missing = width - length(of)
    if missing >= 0:
        return (*of, (" " * missing, "")) if missing else of
    kept: list[Span] = []
    left = width
    for text, role in of:
        if len(text) > left:
            kept.append((cut(text, left, ellipsis), role))
            break
        kept.append((text, role))
        left -= len(text)
        if left == 0:
            kept[-1] = (kept[-1][0][:-1] + ellipsis, kept[-1][1])
            break
    return tuple(kept)


def wrap(text: str, width: int, role: str = "") -> list[Line]:
    """Words over as many lines as they need."""
    import textwrap

    return [((part, role),) for part in textwrap.wrap(text, max(8, width))] or [()]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; ``width`` 0 takes what the others leave."""

    head: str
    width: int
    align: Align = "<"


def table(columns: Sequence[Column], rows: Iterable[Sequence[Span]], width: int) -> list[Line]:
    """A head and rows, columns one space apart, each cell cut to its column."""
    free = width - sum(c.width for c in columns) - (len(columns) - 1)
    wide = [c.width or max(4, free) for c in columns]
    heads = [(c.head, "head") for c in columns]
    lines = []
    for row in (heads, *rows):
        spans: list[Span] = []
        for cell, column, size in zip(row, columns, wide, strict=True):
            text, role = cell
            spans += [(f"{cut(text, size):{column.align}{size}}", role), (" ", "")]
        lines.append(tuple(spans[:-1]))
    return lines


@dataclass(frozen=True, slots=True)
class Panel:
    """A framed part of a screen: its title, what the frame says on the right, its lines."""

    title: str
    lines: Sequence[Line]
    height: int
    right: str = ""
    legend: Line = ()


def stack(panels: Sequence[Panel], width: int, glyphs: Glyphs) -> list[Line]:
    """Panels one under the other, sharing their frames; heights count lines without frames."""
    drawn: list[Line] = []
    for index, panel in enumerate(panels):
        drawn.append(_rule(panel, width, glyphs, glyphs.middle if index else glyphs.top))
        bodies = [*panel.lines[: panel.height]]
        bodies += [()] * (panel.height - len(bodies))
        for body in bodies:
            inner = fit(body, width - 4, glyphs.ellipsis)
            drawn.append(
                ((glyphs.vertical + " ", "frame"), *inner, (" " + glyphs.vertical, "frame"))
            )
    drawn.append(
        ((glyphs.bottom[0] + glyphs.horizontal * (width - 2) + glyphs.bottom[1], "frame"),)
    )
    return drawn


def fill(panels: Sequence[Panel], height: int) -> list[Panel]:
    """The panels with the last one as high as makes ``height`` lines of all of them."""
    missing = height - 1 - sum(panel.height + 1 for panel in panels)
    return [*panels[:-1], replace(panels[-1], height=panels[-1].height + max(0, missing))]


def beside(columns: Sequence[tuple[Sequence[Line], int]]) -> list[Line]:
    """Columns of lines next to each other, each with its width."""
    height = max(len(lines) for lines, _ in columns)
    rows: list[Line] = []
    for row in range(height):
        spans: list[Span] = []
        for lines, width in columns:
            spans += fit(lines[row] if row < len(lines) else (), width)
        rows.append(tuple(spans))
    return rows


def _rule(panel: Panel, width: int, glyphs: Glyphs, corners: str) -> Line:
    rule = glyphs.horizontal
    room = width - 6
    title = cut(panel.title, room)
    right = cut(panel.right, room - len(title) - 2) if panel.right else ""
    end: Line = (
        ((" " + right + " ", "dim"), (rule + corners[1], "frame"))
        if right
        else ((rule + corners[1], "frame"),)
    )
    start: Line = ((corners[0] + rule + " ", "frame"), (title, "title"), (" ", ""))
    legend = panel.legend
    if legend:
        legend = (*legend, (" ", ""))
        legend = fit(legend, min(length(legend), width - length(start) - length(end)))
    gap = width - length(start) - length(legend) - length(end)
    return (*start, *legend, (rule * max(0, gap), "frame"), *end)
