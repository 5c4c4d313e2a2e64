"""A widget that shows lines of styled text and repaints only those that changed."""

import os
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from fedtui.tui import text
from fedtui.tui.text import Line

# The terminal's own sixteen colours: few bytes, and readable on the operator's background.
_COLOURED = {
    "": Style(),
    "frame": Style(dim=True),
    "title": Style(bold=True),
    "head": Style(dim=True, underline=True),
    "dim": Style(dim=True),
    "mine": Style(bold=True),
    "key": Style(bold=True, color="cyan"),
    "ok": Style(color="green"),
    "work": Style(color="cyan"),
    "wait": Style(color="yellow", bold=True),
    "warn": Style(color="yellow", bold=True),
    "fail": Style(color="red", bold=True, reverse=True),
    "note": Style(bold=True, reverse=True),
    "found": Style(reverse=True),
    "bar": Style(reverse=True),
    "bar-strong": Style(reverse=True, bold=True),
    "bar-fail": Style(color="red", reverse=True, bold=True),
    "series0": Style(bold=True),
    "series1": Style(color="cyan"),
    "series2": Style(color="magenta"),
    "series3": Style(color="yellow"),
    "series4": Style(color="green"),
    "series5": Style(color="blue"),
}
_PLAIN = {
    role: Style(bold=s.bold, dim=s.dim, reverse=s.reverse, underline=s.underline)
    for role, s in _COLOURED.items()
}
STYLES = _PLAIN if os.environ.get("NO_COLOR") else _COLOURED


class Lines(Widget, inherit_css=False):
    """Shows what ``show`` was given last."""

    DEFAULT_CSS = "Lines { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str, classes: str = "") -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []
        self._ascii = False

    @property
    def text(self) -> str:
        """What is shown, without styles."""
        return "\n".join(text.plain(one).rstrip() for one in self._lines)

    def show(self, lines: Sequence[Line], *, ascii: bool = False) -> None:
        """Take new lines; ``ascii`` leaves no other character."""
        before = self._lines if ascii == self._ascii else []
        self._lines, self._ascii = list(lines), ascii
        changed = [
            row
            for row in range(max(len(before), len(self._lines)))
            if row >= len(before) or row >= len(self._lines) or before[row] != self._lines[row]
        ]
        if changed:
            self.refresh(*(Region(0, row, self.size.width, 1) for row in changed))

    def render_line(self, y: int) -> Strip:
        """Row ``y`` as the compositor wants it."""
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width)
        segments = [
            Segment(text.to_ascii(words) if self._ascii else words, STYLES[role])
            for words, role in self._lines[y]
        ]
        return Strip(segments).adjust_cell_length(width)
