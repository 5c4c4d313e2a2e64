"""Export: every run of this journal, and what can be taken of it."""

from fedtui.progress import RunProgress
from fedtui.tui import actions, text, words
from fedtui.tui.cursor import Cursor
from fedtui.tui.panels import run as of_run
from fedtui.tui.panels import site
from fedtui.tui.text import Column, Line, Panel
from fedtui.tui.view import View

_ABOUT = (
    "e writes the chosen run to a folder: every event as JSON lines and CSV, metrics a round, the "
    "study, versions, checksums. v checks such a folder, one's own or another site's. "
    "'fedtui logs --to FILE' writes all the log."
)
_COMMANDS = "'fedtui export RUN --to DIR' at the site writes a run to a folder with checksums."


class Exports:
    """Screen 8."""

    name = actions.EXPORT

    def __init__(self) -> None:
        self.words = ""
        self._cursor = Cursor()
        self._page = 1

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The runs, newest first, then what can be done with the chosen one."""
        runs = self._matching(view)
        title = f"Runs with '{self.words}'" if self.words else "Runs"
        self._cursor.settle([run.run for run in runs])
        chosen = self._cursor.at
        if not runs and self.words:
            none: list[Line] = [((words.NO_MATCH, "dim"),)]
            return text.stack([Panel(title, none, height - 2)], width, view.glyphs)[:height]
        if not runs:
            empty: list[Line] = [
                (("There is no run to export yet.", "title"),),
                *text.wrap("A run shows here as soon as this site hears of it.", width - 4),
            ]
            way = site.way(view)
            panels = [Panel("Export", empty, len(empty)), way]
            rest = height - sum(p.height + 1 for p in panels) - 2
            panels.append(site.events(view, width, max(1, rest)))
            return text.stack(text.fill(panels, height), width, view.glyphs)[:height]
        run = runs[chosen]
        detail = _detail(run, width - 4, orders=view.orders, coordinates=view.coordinates)
        self._page = max(1, min(len(runs), height - len(detail) - 4))
        start = max(0, min(chosen - self._page // 2, len(runs) - self._page))
        rows = [
            [
                (
                    (">" if start + at == chosen else " ") + one.run,
                    "mine" if one is run else "",
                ),
                (one.state, words.ROLES[one.state]),
                (f"{len(one.history)}/{one.rounds}", ""),
                (one.metric, "dim"),
                (words.value(_last(one)), ""),
                (view.when(one.submitted), "dim"),
            ]
            for at, one in enumerate(runs[start : start + self._page])
        ]
        columns = [
            Column(" RUN", 0),
            Column("STATE", 9),
            Column("ROUNDS", 9, ">"),
            Column("METRIC", 9),
            Column("LAST", 6, ">"),
            Column("BEGUN", 9, ">"),
        ]
        table = text.table(columns, rows, width - 4)
        found = Panel(title, table, self._page + 1, right=f"{chosen + 1} of {len(runs)}")
        panels = [found, Panel(run.run, detail, len(detail))]
        rest = height - sum(p.height + 1 for p in panels) - 2
        if rest > 0:
            panels.append(site.events(view, width, rest))
        return text.stack(text.fill(panels, height), width, view.glyphs)[:height]

    def run(self, view: View) -> str | None:
        """The id of the chosen run."""
        return self._cursor.name if self._cursor.name in view.progress.runs else None

    def _matching(self, view: View) -> list[RunProgress]:
        newest = reversed(view.progress.runs.values())
        return [r for r in newest if words.holds(f"{r.run} {r.study} {r.state}", self.words)]

    def move(self, rows: int) -> None:
        """Choose another run."""
        self._cursor.move(rows)

    def page(self, direction: int) -> None:
        """A page of runs on, or back."""
        self.move(direction * self._page)


def _last(run: RunProgress) -> float | None:
    return run.history[-1].metrics.get(run.metric) if run.history else None


def _detail(run: RunProgress, width: int, *, orders: bool, coordinates: bool) -> list[Line]:
    sent = ", ".join(f"{n} {of_run.plural(kind, n)}" for kind, (n, _) in run.left.items())
    lines = [
        text.line(("study       ", "dim"), f"{run.study}, fingerprint {run.fingerprint[:16]}"),
        text.line(("sites       ", "dim"), ", ".join(run.sites)),
        text.line(("left here   ", "dim"), sent or "nothing"),
    ]
    if run.cause:
        lines.append(text.line(("outcome     ", "dim"), run.cause))
    if run.state == "COMPLETED":  # a site has heard a path of another host, or none
        kept = run.file if coordinates else "kept at the coordinator"
        lines.append(text.line(("joint model ", "dim"), kept))
    return [*lines, (), *text.wrap(_ABOUT if orders else _COMMANDS, width, "dim")]
