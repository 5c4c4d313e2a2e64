"""What opens over a screen: help, the command palette, a line to type a filter in."""

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from fedtui.tui import actions, text
from fedtui.tui.actions import Action
from fedtui.tui.screens.forms import Told
from fedtui.tui.text import Glyphs, Line, Panel
from fedtui.tui.widgets.lines import Lines

_ABOUT = {
    actions.OVERVIEW: "Where this site stands, step by step, with the next command to give; what "
    "runs on this host; the last alarms.",
    actions.CONNECT: "Checks from this host outwards: = well, ! warning, x failed, - not measured, "
    "? no answer. Below or beside the list: what the chosen one means, what to do, and the ticket "
    "for the network team. Then what each site found last, in the words every site sees.",
    actions.ROUNDS: "States: > works, = has answered, - waits, ! refused, x silent. Loss is that "
    "of training, the metric that on the site's own test examples. In charts the joint model is "
    "o, each site has its own sign.",
    actions.JOIN: "With a code from the coordinator's operator this host becomes a site; both read "
    "the same six words before it is confirmed. At the coordinator: every site it knows.",
    actions.AGREEMENT: "Every study and who has said what: + approved, x declined or withdrawn, . "
    "nothing yet. Read one to its end, then S signs it under a person's own key.",
    actions.VALIDATE: "First each site's own patients: the federated model less the one that the "
    "site trained alone, in pairs, with its interval. Then every model at every site.",
    actions.EXPORT: "Every run in this home's journal, the newest first. An export is a folder of "
    "text files with checksums: events, metrics, the study, versions.",
    actions.LOGS: "Every event as a sentence. The journal keeps all of them; the screen the last "
    "five thousand ('fedtui logs' reads the rest).",
}

TOPICS = {
    actions.OVERVIEW: "first",
    actions.CONNECT: "check",
    actions.JOIN: "first",
    actions.AGREEMENT: "study",
    actions.ROUNDS: "run",
    actions.VALIDATE: "validate",
    actions.LOGS: "faults",
    actions.EXPORT: "validate",
}


_INDENT = 7  # columns for a key


class Help(ModalScreen[None]):
    """The keys that are valid on a screen, from the one list of actions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *((key, "dismiss", "") for key in ("escape", "enter", "q", "question_mark", "space")),
        ("g", "handbook", ""),
        ("down,j", "move(1)", ""),
        ("up,k", "move(-1)", ""),
        ("pagedown", "move(10)", ""),
        ("pageup", "move(-10)", ""),
    ]

    def __init__(self, screen: str, glyphs: Glyphs, valid: Sequence[Action]) -> None:
        super().__init__()
        self._screen, self._glyphs, self._valid = screen, glyphs, valid
        self._start = 0

    def compose(self) -> ComposeResult:
        """One box."""
        yield Lines(id="box")

    def action_move(self, rows: int) -> None:
        """Read on, or back."""
        self._start = max(0, self._start + rows)
        self.on_resize()

    def on_mount(self) -> None:
        """Fill the box for the size there is."""
        self.on_resize()

    def action_handbook(self) -> None:
        """The guide's topic of this screen."""
        from fedtui import guide

        topic = TOPICS[self._screen]
        lines = guide.text(topic).splitlines()
        self.app.push_screen(Told(f"Guide: {topic}", lines, self._glyphs))

    def on_resize(self) -> None:
        """The same for another size."""
        width = min(78, self.app.size.width)
        height = self.app.size.height
        told = page(self._screen, width, self._valid)
        room = max(1, height - 5)  # header, alarm and key row stay in sight
        self._start = max(0, min(self._start, len(told) - room))
        more = len(told) - self._start - room
        right = f"PgDn: {more} more, g handbook" if more > 0 else "g handbook, Esc closes"
        shown = told[self._start : self._start + room]
        panel = Panel(f"Help: {self._screen}", shown, len(shown), right=right)
        lines = text.stack([panel], width, self._glyphs)
        box = self.query_one("#box", Lines)
        box.styles.width, box.styles.height = width, len(lines)
        box.show(lines, ascii=self._glyphs.ascii)


def page(screen: str, width: int, valid: Sequence[Action]) -> list[Line]:
    """The help of one screen: what it shows, then its own keys, then those of all."""
    lines = text.wrap(_ABOUT[screen], width - 4)
    told = [a for a in valid if a.help and not a.screen]
    for action in (*(a for a in told if a.on), *(a for a in told if not a.on)):
        first, *rest = textwrap.wrap(action.help, max(8, width - 4 - _INDENT))
        lines.append(text.line((f"{action.shown:<{_INDENT}}", "key"), first))
        lines += [((" " * _INDENT + part, ""),) for part in rest]
    return lines


class Prompt(ModalScreen[str | None]):
    """One line to type in; Enter gives it, Esc gives nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "")]

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def compose(self) -> ComposeResult:
        """The line, with what was typed before."""
        field = Input(self._words, placeholder="filter: words that a line must hold")
        field.cursor_blink = False
        yield field

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        self.dismiss(event.value)


class Palette(ModalScreen[Action | None]):
    """Actions by name: type some of it, Enter starts the first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", ""),
        ("up", "move(-1)", ""),
        ("down", "move(1)", ""),
    ]

    def __init__(self, glyphs: Glyphs, valid: Sequence[Action]) -> None:
        super().__init__()
        self._glyphs, self._valid = glyphs, valid
        self._found = actions.found("", valid)
        self._at = 0

    def compose(self) -> ComposeResult:
        """What was found, above the line to type in."""
        yield Lines(id="box")
        field = Input(placeholder="command: type some of its name")
        field.cursor_blink = False
        yield field

    def on_mount(self) -> None:
        """Show all of them first."""
        self._fill()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow down."""
        self._found = actions.found(event.value, self._valid)
        self._at = 0
        self._fill()

    def on_input_submitted(self) -> None:
        """Enter."""
        self.dismiss(self._found[self._at] if self._found else None)

    def action_move(self, rows: int) -> None:
        """Another one of those found."""
        self._at = max(0, min(len(self._found) - 1, self._at + rows))
        self._fill()

    def _fill(self) -> None:
        width = min(78, self.app.size.width)
        room = self.app.size.height - 5
        start = max(0, self._at - room + 1)
        lines = [
            text.fit(
                (
                    (f" {a.shown:<7}", "key"),
                    (f"{a.label or a.name:<10} ", "title"),
                    (a.help, "found" if start + i == self._at else ""),
                ),
                width - 4,
            )
            for i, a in enumerate(self._found[start : start + room])
        ] or [(("No action has such a name.", "dim"),)]
        box = self.query_one("#box", Lines)
        drawn = text.stack(
            [Panel("Command", lines, len(lines), right="Esc closes")], width, self._glyphs
        )
        box.styles.width, box.styles.height = width, len(drawn)
        box.show(drawn, ascii=self._glyphs.ascii)
