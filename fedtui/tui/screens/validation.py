"""Validate: whether joining was worth it, to each hospital on its own patients first."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedtui.tui import actions, text, words
from fedtui.tui.panels import validated
from fedtui.tui.text import Line, Panel
from fedtui.tui.view import View

if TYPE_CHECKING:
    from fedtui.report.comparison import Comparison

_PREVALENCE = "It also holds differences in how common the outcome is at each site."
_SITES = 6  # rows of the first table, where what follows needs room too


class Validation:
    """Screen 6."""

    name = actions.VALIDATE

    def __init__(self) -> None:
        self._start = 0
        self._page = 1
        self._shown = ""

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The answer, each site's difference drawn, the matrix or a chart, pooled last."""
        found = view.compared
        if found is None:
            lines = _empty(view, width)
            return text.stack([Panel("Validate", lines, height - 2)], width, view.glyphs)[:height]
        worse = any(row.verdict == "worse" for row in found.own)
        answer = text.wrap(_answer(found), width - 4, "warn" if worse else "title")
        own = validated.own(found, width - 4, view)
        most = 1 + (_SITES if height < 30 else max(_SITES, height // 3))
        if len(own) > most:
            told = f"and {len(own) - most + 1} more sites: PgDn below, in the chart of m"
            own = [*own[: most - 1], ((told, "dim"),)]
        state = found.outcome or "under way"
        first = Panel("Is joining worth it?", answer, len(answer), right=f"{found.run}, {state}")
        metric = words.metric(found.metric)
        second = Panel(
            f"Federated less own model, own test patients: {metric}, paired, 95 %",
            own,
            len(own),
        )
        room = height - first.height - second.height - 3
        panels = [first, second, *self._views(found, view, width, max(2, room))]
        return text.stack(panels, width, view.glyphs)[:height]

    def _views(self, found: "Comparison", view: View, width: int, room: int) -> list[Panel]:
        """The chosen view, then as many of the next ones as fit whole; the last takes the rest."""
        choice = validated.views(found)
        start = view.charted % len(choice)
        choice = [*choice[start:], *choice[:start]]
        if choice[0] != self._shown:
            self._start, self._shown = 0, choice[0]
        lines = _lines(found, choice[0], width - 4, view)
        self._page = max(1, min(len(lines), room - 1))
        self._start = max(0, min(self._start, len(lines) - self._page))
        more = len(lines) - self._start - self._page
        panels = [Panel(validated.named(choice[0]), lines[self._start :], self._page)]
        room -= self._page + 1
        shown = 1
        for what in choice[1:]:
            lines = _lines(found, what, width - 4, view)
            if len(lines) + 1 > room:
                break
            panels.append(Panel(validated.named(what), lines, len(lines)))
            room -= len(lines) + 1
            shown += 1
        panels[-1] = replace(panels[-1], height=panels[-1].height + room)
        then = validated.named(choice[shown % len(choice)]).partition(" with")[0].lower()
        right = f"PgDn: {more} more" if more > 0 else f"m: {then}" if choice[shown:] else ""
        panels[0] = replace(panels[0], right=right)
        return panels

    def move(self, rows: int) -> None:
        """Read on, or back."""
        self._start = max(0, self._start + rows)

    def page(self, direction: int) -> None:
        """A page on, or back."""
        self.move(direction * max(1, self._page - 1))


def _lines(found: "Comparison", what: str, width: int, view: View) -> list[Line]:
    if what == validated.MATRIX:
        return [*validated.matrix(found, width), (), *_pooled(found, width)]
    if what == validated.CLASSES:
        return validated.classes(found, width, view)
    return validated.drawn(found, what, width, view)


def _answer(found: "Comparison") -> str:
    """Nothing is said of a site before it has answered."""
    waiting = [row.site for row in found.own if row.verdict == "unknown"]
    if found.outcome or not waiting:
        noised = " Only the joint model bears privacy's noise." if found.private else ""
        return found.sentence + noised
    told = len(found.own) - len(waiting)
    return (
        f"Under way: {told} of {len(found.own)} sites have answered; {', '.join(waiting)} not yet."
    )


def _pooled(found: "Comparison", width: int) -> list[Line]:
    pooled = found.pooled
    if pooled.value is None:
        missing = "Pooled over all patients: not known." if found.outcome else ""
        return [((missing, "dim"),)]
    sure = validated.ends_of(pooled, ", surely between {:.3f} and {:.3f}")
    who = ", ".join(found.pooled_sites)
    return text.wrap(
        f"Pooled AUROC {pooled.value:.3f}{sure}, of {who}. {_PREVALENCE}", width, "dim"
    )


def _empty(view: View, width: int) -> list[Line]:
    if problem := view.desk.problems.get(actions.VALIDATE):
        return text.wrap(problem, width - 4, "fail")
    judged = "every site judges the federated model and its own on its own test patients."
    if view.coordinates and view.orders:
        how = f"v validates the last completed run: {judged}"
    elif view.coordinates:
        how = f"'fedtui validate RUN' here, once it is completed: {judged}"
    else:
        how = "The coordinator orders it ('fedtui validate RUN') once a run is completed."
    return [(("No run has been validated yet.", "title"),), *text.wrap(how, width - 4)]
