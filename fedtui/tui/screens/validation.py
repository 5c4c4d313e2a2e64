"""Validate: whether joining was worth it, to each hospital on its own patients first."""

from typing import TYPE_CHECKING

from fedtui.tui import actions, text
from fedtui.tui.text import Column, Line, Panel, Span
from fedtui.tui.view import View

if TYPE_CHECKING:
    from fedtui.report.comparison import Comparison, Estimate, Row

_ROLES = {
    "worse": ("x WORSE", "fail"),
    "perhaps worse": ("! PERHAPS WORSE", "warn"),
    "same": ("- SAME", "dim"),
    "perhaps better": ("- PERHAPS BETTER", ""),
    "better": ("= BETTER", "ok"),
    "unknown": ("? UNKNOWN", "wait"),
}
_PREVALENCE = "It also holds differences in how common the outcome is at each site."


class Validation:
    """Screen 6."""

    name = actions.VALIDATE

    def __init__(self) -> None:
        self._start = 0
        self._most = 0
        self._page = 1

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The answer, each site's difference drawn, the matrix, pooled last."""
        found = view.compared
        if found is None:
            lines = _empty(view, width)
            return text.stack([Panel("Validate", lines, height - 2)], width, view.glyphs)[:height]
        worse = any(row.verdict == "worse" for row in found.own)
        answer = text.wrap(found.sentence, width - 4, "warn" if worse else "title")
        own = _own(found, width - 4, view)
        rest = [*_matrix(found, width - 4), (), *_pooled(found, width - 4)]
        state = found.outcome or "under way"
        first = Panel("Is joining worth it?", answer, len(answer), right=f"{found.run}, {state}")
        second = Panel(
            f"Federated less own model, own test patients: {found.metric}, paired, 95 %",
            own,
            len(own),
        )
        self._page = max(1, height - first.height - second.height - 4)
        self._most = len(rest)
        self._start = max(0, min(self._start, len(rest) - self._page))
        more = len(rest) - self._start - self._page
        third = Panel(
            "Every model at every site",
            rest[self._start :],
            self._page,
            right=f"PgDn: {more} more" if more > 0 else "",
        )
        return text.stack([first, second, third], width, view.glyphs)[:height]

    def move(self, rows: int) -> None:
        """Read on, or back."""
        self._start = max(0, self._start + rows)

    def page(self, direction: int) -> None:
        """A page on, or back."""
        self.move(direction * max(1, self._page - 1))


def _own(found: "Comparison", width: int, view: View) -> list[Line]:
    drawn = max(0, min(31, width - 66))
    columns = [
        Column("SITE", 0),
        Column("PATIENTS", 8, ">"),
        Column("FEDERATED", 9, ">"),
        Column("OWN", 6, ">"),
        Column("DIFFERENCE", 23),
        *([Column("WORSE | BETTER", drawn)] if drawn >= 11 else []),
        Column("", 16),
    ]
    reach = max(
        (abs(end) for row in found.own for end in _ends(row.difference)), default=0.0
    ) or 0.01  # fmt: skip
    rows: list[list[Span]] = []
    for row in found.own:
        word, role = _ROLES[row.verdict]
        cells: list[Span] = [
            (row.site, "mine" if row.site == view.progress.site else ""),
            ("--" if row.patients is None else f"~{row.patients}", ""),
            (_number(row.federated.value), ""),
            (_number(row.local.value), ""),
            (_difference(row), ""),
        ]
        if drawn >= 11:
            cells.append((forest(row.difference, reach, drawn, ascii=view.glyphs.ascii), role))
        rows.append([*cells, (word if row.verdict != "unknown" else row.why or word, role)])
    return text.table(columns, rows, width)


def forest(estimate: "Estimate", reach: float, width: int, *, ascii: bool) -> str:
    """An interval around 0, from -``reach`` to ``reach`` over ``width`` cells."""
    middle = width // 2
    cells = [" "] * width
    cells[middle] = "|" if ascii else "│"
    if estimate.value is None:
        return "".join(cells)

    def place(value: float) -> int:
        return max(0, min(width - 1, middle + round(value / reach * middle)))

    low, high = _ends(estimate) or (estimate.value, estimate.value)
    for cell in range(place(low), place(high) + 1):
        cells[cell] = ("+" if ascii else "┼") if cell == middle else ("-" if ascii else "─")
    cells[place(estimate.value)] = "o" if ascii else "█"
    return "".join(cells)


def _ends(estimate: "Estimate") -> tuple[float, float] | tuple[()]:
    if estimate.low is None or estimate.high is None:
        return ()
    return estimate.low, estimate.high


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.3f}"


def _difference(row: "Row") -> str:
    value, ends = row.difference.value, _ends(row.difference)
    if value is None:
        return "--"
    between = f" ({ends[0]:+.3f} to {ends[1]:+.3f})" if ends else ""
    return f"{value:+.3f}{between}"


def _matrix(found: "Comparison", width: int) -> list[Line]:
    size = max(8, min(16, (width - 24) // max(1, len(found.sites)) - 1))
    columns = [
        Column(f"{found.metric.upper()} OF", 0),
        *(Column(s, size, ">") for s in found.sites),
    ]
    rows: list[list[Span]] = []
    for model in found.models:
        row: list[Span] = [(model, "title" if model == "federated" else "")]
        for site in found.sites:
            cell = found.cells.get((model, site))
            value = None if cell is None else cell.metrics.get(found.metric)
            row.append((_number(value), "" if value is not None else "dim"))
        rows.append(row)
    lines = text.table(columns, rows, width)
    whys = dict.fromkeys(
        f"-- {site}, {model}: {found.why(model, site)}"
        for model in found.models
        for site in found.sites
        if (model, site) not in found.cells or found.cells[model, site].withheld
    )
    return [*lines, *(((text.cut(why, width, "~"), "dim"),) for why in list(whys)[:6])]


def _pooled(found: "Comparison", width: int) -> list[Line]:
    pooled = found.pooled
    if pooled.value is None:
        return [(("Pooled over all patients: not known.", "dim"),)]
    ends = _ends(pooled)
    sure = f", surely between {ends[0]:.3f} and {ends[1]:.3f}" if ends else ""
    who = ", ".join(found.pooled_sites)
    return text.wrap(
        f"Pooled AUROC {pooled.value:.3f}{sure}, of {who}. {_PREVALENCE}", width, "dim"
    )


def _empty(view: View, width: int) -> list[Line]:
    if problem := view.desk.problems.get(actions.VALIDATE):
        return text.wrap(problem, width - 4, "fail")
    how = (
        "v validates the last completed run: every site judges the federated model and its own on "
        "its own test patients."
        if view.coordinates
        else "The coordinator orders it ('fedtui validate RUN') once a run is completed."
    )
    return [(("No run has been validated yet.", "title"),), *text.wrap(how, width - 4)]
