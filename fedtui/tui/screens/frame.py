"""The one Textual screen: header, alarm row and key row around a page of lines."""

from typing import Protocol, runtime_checkable

from textual.app import ComposeResult
from textual.screen import Screen

from fedtui.tui import text
from fedtui.tui.panels import rows
from fedtui.tui.text import Line
from fedtui.tui.view import View, alarm
from fedtui.tui.widgets.lines import Lines

SMALLEST = (40, 10)  # columns, rows; below this one line says where to look instead


class Page(Protocol):
    """What the operator calls a screen; turning pages repaints only what differs."""

    name: str

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The page's ``height`` lines."""


@runtime_checkable
class Movable(Page, Protocol):
    """A page with a cursor, or with more lines than fit."""

    def move(self, rows: int) -> None:
        """So many rows on; back if negative."""

    def page(self, direction: int) -> None:
        """A screenful on, or back."""


@runtime_checkable
class Filtered(Page, Protocol):
    """A page of which ``/`` leaves only the lines that hold every one of ``words``."""

    words: str


_ROWS = ("header", "body", "alarm", "keys")


class Frame(Screen[None], inherit_css=False):
    """What every page shares."""

    DEFAULT_CSS = """
    Frame { layout: vertical; background: ansi_default; color: ansi_default; }
    #header, #alarm, #keys { height: 1; }
    """
    AUTO_FOCUS = None

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page

    def compose(self) -> ComposeResult:
        """Four widgets, whatever the page."""
        for name in _ROWS:
            yield Lines(id=name)

    def show(self, view: View) -> None:
        """Bring every row up to date with ``view``; what has not changed is not repainted."""
        width, height = self.app.size
        lines = {row.id: row for row in self.query(Lines)}
        if not self.is_mounted or not width or len(lines) < len(_ROWS):
            return  # before the first one, or news came while Textual took the rows away
        plain = view.glyphs.ascii
        small = width < SMALLEST[0] or height < SMALLEST[1]
        for name in ("header", "alarm", "keys"):
            lines[name].display = not small
        body = lines["body"]
        if small:
            prefix, role, _ = alarm(view)
            word = f"{view.phase} {prefix}: too small, run 'fedtui status'"
            body.show([((text.cut(word, width, "~"), role),)], ascii=plain)
            return
        lines["header"].show([rows.header(view, width)], ascii=plain)
        body.show(self.page.draw(view, width, height - 3), ascii=plain)
        lines["alarm"].show([rows.attention(view, width)], ascii=plain)
        now = view.conditions
        valid = [a for a in view.valid(self.page.name) if now.issuperset(a.when)]
        lines["keys"].show([rows.keys(valid, self.page.name, width)], ascii=plain)

    @property
    def text(self) -> str:
        """Everything shown, without styles."""
        return "\n".join(part.text for part in self.query(Lines))
