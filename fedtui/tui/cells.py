"""The cell-diff layer: of what Textual wants on screen, only the cells that differ are sent.

Textual sends whole rows of a changed widget with a full style for every piece: 9 to 60 times the
bytes. It may also block on a terminal that has stopped reading; here a frame waits, and what has
changed by then is sent once.
"""

from collections.abc import Iterable
from functools import cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate

_BRIDGE = 6  # equal cells between two changed ones; moving the cursor takes as many bytes
_PLAIN = ""
Cell = tuple[str, str]  # a character ('' behind a wide one) and its SGR parameters
_BLANK: Cell = (" ", _PLAIN)


class Cells:
    """What the screen should show, what the terminal shows, and the bytes between the two."""

    def __init__(self, width: int, height: int) -> None:
        self._wanted: list[list[Cell]] = []
        self._shown: list[list[Cell]] | None = None
        self._dirty: set[int] = set()
        self.width, self.height = 0, 0
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Take a new size; the terminal's contents are unknown from here on."""
        if (width, height) != (self.width, self.height):
            self.width, self.height = width, height
            self._wanted = [[_BLANK] * width for _ in range(height)]
        self.invalidate()

    def invalidate(self) -> None:
        """The terminal may show anything: the next frame clears and draws all of it."""
        self._shown = None
        self._dirty = set(range(self.height))

    def accept(self, update: CompositorUpdate) -> bool:
        """Note what ``update`` wants on screen; False when its kind is unknown."""
        if isinstance(update, LayoutUpdate):
            for row, strips in enumerate(update.strips, update.region.y):
                self._put(row, update.region.x, (s for strip in strips for s in strip))
        elif isinstance(update, ChopsUpdate):
            for row, start, stop in update.spans:
                for end, (x, strip) in zip(
                    update.chop_ends[row], update.chops[row].items(), strict=False
                ):
                    if strip is None or x > stop or end <= start:
                        continue
                    self._put(row, x, strip if end <= stop else strip.crop(0, stop - x))
        else:
            return False
        return True

    def frame(self) -> str:
        """The bytes that bring the terminal up to date; empty when it is."""
        out: list[str] = []
        pen = _PLAIN
        if self._shown is None:
            out.append("\x1b[0m\x1b[2J")
            self._shown = [[_BLANK] * self.width for _ in range(self.height)]
        for row in sorted(self._dirty):
            wanted, shown = self._wanted[row], self._shown[row]
            if wanted == shown:
                continue
            at = -1  # where the cursor stands in this row; -1: in another
            for start, stop in _runs(wanted, shown):
                if at < 0:
                    out.append(f"\x1b[{row + 1};{start + 1}H" if start else f"\x1b[{row + 1}H")
                elif start > at:
                    out.append(f"\x1b[{start - at}C" if start - at > 1 else "\x1b[C")
                for character, style in wanted[start:stop]:
                    if style != pen:
                        out.append(f"\x1b[0;{style}m" if style and pen else f"\x1b[{style}m")
                        pen = style
                    out.append(character)
                at = stop
            shown[:] = wanted
        self._dirty.clear()
        if pen:
            out.append("\x1b[m")
        return "".join(out)

    def _put(self, row: int, x: int, segments: Iterable[Segment]) -> None:
        if not 0 <= row < self.height:
            return
        cells = self._wanted[row]
        for segment in segments:
            if segment.control:
                continue
            style = _parameters(segment.style) if segment.style else _PLAIN
            for character in segment.text:
                wide = 1 if character.isascii() else cell_len(character)
                if wide == 0:  # a combining mark belongs to the cell before
                    if 0 < x <= self.width:
                        cells[x - 1] = (cells[x - 1][0] + character, cells[x - 1][1])
                    continue
                if 0 <= x < self.width:
                    cells[x] = (character, style)
                if wide == 2 and 0 <= x + 1 < self.width:
                    cells[x + 1] = ("", style)
                x += wide
        self._dirty.add(row)


def _runs(wanted: list[Cell], shown: list[Cell]) -> list[tuple[int, int]]:
    """Stretches of cells to send: changed ones, and short equal stretches between them."""
    runs: list[tuple[int, int]] = []
    for at, (new, old) in enumerate(zip(wanted, shown, strict=True)):
        if new == old:
            continue
        if runs and at - runs[-1][1] < _BRIDGE:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    wide = []
    for start, stop in runs:  # never begin or end inside a wide character
        while start > 0 and wanted[start][0] == "":
            start -= 1
        while stop < len(wanted) and wanted[stop][0] == "":
            stop += 1
        wide.append((start, stop))
    return wide


@cache
def _parameters(style: Style) -> str:
    """The SGR parameters of a style; the terminal's own colours need none."""
    attributes = (
        (style.bold, "1"),
        (style.dim, "2"),
        (style.italic, "3"),
        (style.underline, "4"),
        (style.reverse, "7"),
        (style.strike, "9"),
    )
    codes = [code for on, code in attributes if on]
    if style.color and not style.color.is_default:
        codes += style.color.get_ansi_codes(foreground=True)
    if style.bgcolor and not style.bgcolor.is_default:
        codes += style.bgcolor.get_ansi_codes(foreground=False)
    return ";".join(codes)
