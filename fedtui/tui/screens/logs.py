"""Logs: every event as a sentence, filtered by words and level."""

import textwrap
from collections.abc import Callable, Sequence

from fedtui.record import Record
from fedtui.tui import actions, text
from fedtui.tui.panels import site
from fedtui.tui.text import Line, Panel
from fedtui.tui.view import View
from fedtui.tui.words import holds

LEVELS: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("news", site.worth),
    ("everything", lambda _: True),
    ("warnings", lambda record: record.event.level != "INFO"),
    ("errors", lambda record: record.event.level == "ERROR"),
)


class Logs:
    """Screen 7. ``last`` is the record at the bottom of the page; None follows the newest."""

    name = actions.LOGS

    def __init__(self) -> None:
        self.words = ""
        self.level = 0
        self.last: int | None = None
        self._page = 1
        self._matching: list[Record] = []

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """A page of records up to the cursor, and what is shown of how many in the frame."""
        self._matching = matching(view.records, self.words, self.level)
        end = len(self._matching)
        if self.last is not None:
            end = sum(1 for r in self._matching if r.seq <= self.last)
            end = max(end, min(self._page, len(self._matching)))
        lines, self._page = self._fill(end, width - 4, height - 2)
        name, _ = LEVELS[self.level]
        title = f"Logs: {name}" + (f" with '{self.words}'" if self.words else "")
        state = "following" if self.last is None else "f follows"
        first = end - self._page + 1 if lines else 0
        right = f"{first}-{end} of {len(self._matching)}, {state}"
        if not lines:
            hint = "Nothing matches: / changes the filter, l the level."
            lines = [((hint if view.records else "The journal is empty.", "dim"),)]
        return text.stack([Panel(title, lines, height - 2, right=right)], width, view.glyphs)

    def _fill(self, end: int, width: int, height: int) -> tuple[list[Line], int]:
        """Whole records up to ``end`` that fill a page, long sentences wrapped; how many."""
        lines: list[Line] = []
        count = 0
        for record in reversed(self._matching[:end]):
            block = self._lines(record, width)
            if lines and len(lines) + len(block) > height:
                break
            lines = [*block, *lines][-height:]
            count += 1
        return lines, count

    def _lines(self, record: Record, width: int) -> list[Line]:
        *start, (sentence, _) = site.event(record)
        if width >= 100:
            start.append((f" {record.source:<11}", "dim"))
        start.append((" ", ""))
        before = text.length(tuple(start))
        parts = textwrap.wrap(sentence, max(20, width - before)) or [""]
        first = (*start, *self._marked(parts[0]))
        return [first, *(((" " * before, ""), *self._marked(part)) for part in parts[1:])]

    def _marked(self, sentence: str) -> Line:
        at = sentence.lower().find(self.words.lower()) if self.words else -1
        if at < 0:
            return ((sentence, ""),)
        end = at + len(self.words)
        return ((sentence[:at], ""), (sentence[at:end], "found"), (sentence[end:], ""))

    def move(self, lines: int) -> None:
        """Move the page by ``lines``; at the newest record it follows again."""
        if not self._matching:
            return
        end = len(self._matching)
        if self.last is not None:
            end = sum(1 for r in self._matching if r.seq <= self.last)
        end = max(min(self._page, len(self._matching)), end + lines)
        self.last = None if end >= len(self._matching) else self._matching[end - 1].seq

    def page(self, direction: int) -> None:
        """Move by a page, one line kept in sight."""
        self.move(direction * max(1, self._page - 1))

    def follow(self, on: bool | None = None) -> None:
        """Stay at the newest record, or where it is now; None changes over."""
        follow = self.last is not None if on is None else on
        self.last = None if follow or not self._matching else self._matching[-1].seq


def matching(records: Sequence[Record], words: str, level: int) -> list[Record]:
    """The records of a level whose sentence or process holds every word."""
    _, admitted = LEVELS[level]
    return [
        r
        for r in records
        if admitted(r)
        and (not words or holds(f"{r.source} {r.event.level} {r.event.sentence}", words))
    ]
