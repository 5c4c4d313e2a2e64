"""What an operator fills in before an order: some lines, a word that confirms, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from fedtui.tui import text
from fedtui.tui.text import Glyphs, Line, Panel
from fedtui.tui.widgets.lines import Lines

_WIDEST = 78  # columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One line to fill in.

    Attributes:
        value: What stands there at first.
        needed: Whether it may not stay empty.
        secret: Whether what is typed is not shown.
    """

    name: str
    label: str
    value: str = ""
    needed: bool = True
    secret: bool = False


class Form(ModalScreen[dict[str, str] | None]):
    """Some lines to fill in; Enter in the last one gives them, Esc nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", ""),
        ("up", "app.focus_previous", ""),
        ("down", "app.focus_next", ""),
    ]

    def __init__(self, title: str, about: str, fields: Sequence[Field], glyphs: Glyphs) -> None:
        super().__init__()
        self._title, self._about, self._fields, self._glyphs = title, about, fields, glyphs

    def compose(self) -> ComposeResult:
        """What it is for, then the lines."""
        with Vertical(id="form"):
            yield Lines(id="box")
            for field in self._fields:
                with Horizontal(classes="row"):
                    yield Lines(id=f"label-{field.name}")
                    line = Input(field.value, password=field.secret, id=field.name)
                    line.cursor_blink = False
                    yield line
                    yield Lines(id=f"edge-{field.name}", classes="edge")
            yield Lines(id="bottom")

    def on_mount(self) -> None:
        """Draw for the size there is, and begin with the first line."""
        self.on_resize()
        self.query(Input).first().focus()

    def on_resize(self) -> None:
        """The same for another size."""
        width = min(_WIDEST, self.app.size.width)
        about = text.wrap(self._about, width - 4)
        panel = Panel(self._title, [*about, ()], len(about) + 1, right="Enter next, Esc cancels")
        _frame(self, panel, width, self._glyphs, rows=len(self._fields))
        labels = [f"{f.label}{'' if f.needed else ' (or empty)'}" for f in self._fields]
        room = min(max(map(len, labels)), width // 2)
        for field, label in zip(self._fields, labels, strict=True):
            shown = self.query_one(f"#label-{field.name}", Lines)
            shown.styles.width = room + 2
            edge = (self._glyphs.vertical + " ", "frame")
            shown.show([(edge, (text.cut(label, room, "~"), "dim"))], ascii=self._glyphs.ascii)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """On to the next line, or to the end; an empty line that is needed keeps the focus."""
        lines = list(self.query(Input))
        at = lines.index(event.input)
        if self._fields[at].needed and not event.value.strip():
            return
        if event.input is not lines[-1]:
            lines[at + 1].focus()
            return
        pairs = list(zip(lines, self._fields, strict=True))
        empty = next((line for line, f in pairs if f.needed and not line.value.strip()), None)
        if empty is not None:
            empty.focus()
        else:
            self.dismiss({field.name: line.value.strip() for line, field in pairs})


def _frame(
    screen: ModalScreen[Any], panel: Panel, width: int, glyphs: Glyphs, *, rows: int
) -> None:
    """A box of ``width`` that holds the panel's words, then so many rows to type in."""
    *drawn, bottom = text.stack([panel], width, glyphs)
    form = screen.query_one("#form", Vertical)
    form.styles.width, form.styles.height = width, len(drawn) + rows + 1
    for name, lines in (("box", drawn), ("bottom", [bottom])):
        part = screen.query_one(f"#{name}", Lines)
        part.styles.height = len(lines)
        part.show(lines, ascii=glyphs.ascii)
    for edge in screen.query(".edge").results(Lines):
        edge.show([((" " + glyphs.vertical, "frame"),)], ascii=glyphs.ascii)


class _Cancel(Lines, can_focus=True):
    """Where the focus is at first: Enter here changes nothing."""


class Confirm(ModalScreen[bool]):
    """A dangerous order: what it does, and a word to type; Enter at once cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", "")]

    def __init__(self, title: str, effect: str, word: str, glyphs: Glyphs) -> None:
        super().__init__()
        self._title, self._effect, self._word, self._glyphs = title, effect, word, glyphs

    def compose(self) -> ComposeResult:
        """Effect, the way out, the line to type in."""
        with Vertical(id="form"):
            yield Lines(id="box")
            yield _Cancel(id="cancel")
            with Horizontal(classes="row"):
                yield Lines(id="label", classes="edge")
                field = Input(placeholder=f"or type {self._word} to go on", select_on_focus=False)
                field.cursor_blink = False
                yield field
                yield Lines(id="edge", classes="edge")
            yield Lines(id="bottom")

    def on_mount(self) -> None:
        """The focus is on Cancel."""
        self.on_resize()
        self.query_one("#cancel", _Cancel).focus()

    def on_resize(self) -> None:
        """Draw for the size there is."""
        width = min(_WIDEST, self.app.size.width)
        lines = text.wrap(self._effect, width - 4)
        panel = Panel(self._title, [*lines, ()], len(lines) + 1, right="Esc cancels")
        _frame(self, panel, width, self._glyphs, rows=2)
        start = ((self._glyphs.vertical + " ", "frame"),)
        self.query_one("#label", Lines).show([start], ascii=self._glyphs.ascii)
        self._say()

    def _say(self, told: str = "") -> None:
        cancel = self.query_one("#cancel", _Cancel)
        cancel.styles.height = 1
        here = cancel.has_focus
        words = told or "[ Cancel ]  Enter or Esc: nothing happens"
        if not here and not told:
            words = "  Cancel    with Esc, or with Enter on an empty line"
        edge = (self._glyphs.vertical, "frame")
        role = "found" if here and not told else "warn" if told else "dim"
        width = min(_WIDEST, self.app.size.width)
        line = text.fit((edge, (" ", ""), (words, role)), width - 1)
        cancel.show([(*line, edge)], ascii=self._glyphs.ascii)

    def on_descendant_focus(self) -> None:
        """Say where the focus is."""
        self.call_after_refresh(self._say)

    def on_key(self, event: events.Key) -> None:
        """On Cancel, Enter cancels and any letter begins the word."""
        if not self.query_one("#cancel", _Cancel).has_focus:
            return
        if event.key == "enter":
            self.action_cancel()
        elif event.character and event.is_printable:
            field = self.query_one(Input)
            field.focus()
            field.insert_text_at_cursor(event.character)
            event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only the very word goes on."""
        if event.value.strip() == self._word:
            self.dismiss(True)
        elif not event.value.strip():
            self.dismiss(False)
        else:
            self._say(f"That is not {self._word}; nothing has happened.")

    def action_cancel(self) -> None:
        """Nothing is changed."""
        self.dismiss(False)


class Told(ModalScreen[None]):
    """What came of an order, where one row is too little."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *((key, "dismiss", "") for key in ("escape", "enter", "q", "space")),
        ("y", "copy", ""),
        ("down,j", "move(1)", ""),
        ("up,k", "move(-1)", ""),
        ("pagedown", "move(10)", ""),
        ("pageup", "move(-10)", ""),
    ]

    def __init__(self, title: str, said: Sequence[str], glyphs: Glyphs) -> None:
        super().__init__()
        self._title, self._said, self._glyphs = title, said, glyphs
        self._start = 0

    def compose(self) -> ComposeResult:
        """One box."""
        yield Lines(id="box")

    def on_mount(self) -> None:
        """Draw for the size there is."""
        self.on_resize()

    def on_resize(self) -> None:
        """The same for another size."""
        width = min(_WIDEST, self.app.size.width)
        lines = [line for said in self._said for line in _laid_out(said, width - 4)]
        most = max(1, self.app.size.height - 5)
        self._start = max(0, min(self._start, len(lines) - most))
        more = len(lines) - self._start - most
        right = f"PgDn: {more} more" if more > 0 else "y copies, Esc closes"
        shown = lines[self._start : self._start + most]
        drawn = text.stack(
            [Panel(self._title, shown, len(shown), right=right)], width, self._glyphs
        )
        box = self.query_one("#box", Lines)
        box.styles.width, box.styles.height = width, len(drawn)
        box.show(drawn, ascii=self._glyphs.ascii)

    def action_move(self, rows: int) -> None:
        """Read on, or back."""
        self._start = max(0, self._start + rows)
        self.on_resize()

    def action_copy(self) -> None:
        """To the terminal's clipboard."""
        self.app.copy_to_clipboard("\n".join(self._said))


def _laid_out(said: str, width: int) -> list[Line]:
    """A line as it stands where it fits: codes and tables keep their places."""
    return [((said, ""),)] if len(said) <= width else text.wrap(said, width)
