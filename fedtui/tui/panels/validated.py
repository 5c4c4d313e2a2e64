"""What a run's models turned out to be worth: drawn intervals, the matrix, patients by class."""

from typing import TYPE_CHECKING

from fedtui.tui import text, words
from fedtui.tui.text import Column, Line, Span
from fedtui.tui.view import View

if TYPE_CHECKING:
    from fedtui.report.comparison import Comparison, Estimate, Row

_FEDERATED = "federated"
_ROLES = {
    "worse": ("x WORSE", "fail"),
    "no clear difference": ("- NO CLEAR DIFFERENCE", ""),
    "better": ("= BETTER", "ok"),
    "unknown": ("? UNKNOWN", "wait"),
}
# What a perfect model has, where that is not simply more or less.
_IDEAL = {"calibration_slope": 1.0, "calibration_error": 0.0}
_WITHHELD = 6  # reasons shown under the matrix
_WIDE = 84  # columns; from here on a site's name has 18 of them beside full headings
MATRIX, CLASSES = "matrix", "classes"


def own(found: "Comparison", width: int, view: View) -> list[Line]:
    """Each site's own patients: the joint model, its own, their difference, drawn around 0."""
    drawn = max(0, min(31, width - 89))
    wide = width >= _WIDE
    columns = [
        Column("SITE", 0),
        Column("PATIENTS", 8, ">") if wide else Column("N", 6, ">"),
        Column("FEDERATED", 9, ">") if wide else Column("JOINT", 5, ">"),
        Column("OWN", 5, ">"),
        Column("DIFFERENCE", 23),
        *([Column("WORSE | BETTER", drawn)] if drawn >= 11 else []),
        Column("", 21 if wide else 16),
    ]
    reach = max((abs(end) for row in found.own for end in _ends(row.difference)), default=0.01)
    rows: list[list[Span]] = []
    for row in found.own:
        word, role = _ROLES[row.verdict]
        cells: list[Span] = [
            (row.site, "mine" if row.site == view.progress.site else ""),
            ("--" if row.patients is None else f"~{row.patients}", ""),
            (number(row.federated.value), ""),
            (number(row.local.value), ""),
            (_difference(row), ""),
        ]
        if drawn >= 11:
            cells.append(
                (interval(row.difference, -reach, reach, 0.0, drawn, ascii=view.glyphs.ascii), role)
            )
        if row.verdict == "no clear difference" and not wide:
            word = "- NOT CLEAR"
        if row.verdict == "unknown":
            word = row.why if found.outcome else "not yet"
        rows.append([*cells, (word, role)])
    return text.table(columns, rows, width)


def interval(
    estimate: "Estimate",
    low: float,
    high: float,
    ideal: float | None,
    width: int,
    *,
    ascii: bool,
) -> str:
    """An estimate and its 95 % interval on a line from ``low`` to ``high``, ``width`` cells."""
    cells = [" "] * width

    def place(value: float) -> int:
        share = (value - low) / ((high - low) or 1.0)
        return max(0, min(width - 1, round(share * (width - 1))))

    if ideal is not None:
        cells[place(ideal)] = "|" if ascii else "│"
    if estimate.value is None:
        return "".join(cells)
    start, stop = _ends(estimate) or (estimate.value, estimate.value)
    for cell in range(place(start), place(stop) + 1):
        crossed = cells[cell] != " "
        cells[cell] = ("+" if ascii else "┼") if crossed else ("-" if ascii else "─")
    cells[place(estimate.value)] = "o" if ascii else "█"
    return "".join(cells)


def views(found: "Comparison") -> list[str]:
    """What the last panel can show: the matrix, each metric drawn, calibration first, classes."""
    told = dict.fromkeys(
        name
        for cell in found.cells.values()
        for name, value in cell.metrics.items()
        if value is not None
    )
    names = [name for name in _IDEAL if name in told]
    names += [name for name in told if name not in names]
    classes = [CLASSES] if any(cell.outcomes for cell in found.cells.values()) else []
    return [MATRIX, *names, *classes]


def named(what: str) -> str:
    """The panel's title."""
    if what == MATRIX:
        return "Every model at every site"
    if what == CLASSES:
        return "Test patients by outcome, at each site"
    ideal = f"; {_IDEAL[what]:g} is right" if what in _IDEAL else ""
    return f"{words.title(what)} with 95 % intervals{ideal}"


def drawn(found: "Comparison", metric: str, width: int, view: View) -> list[Line]:
    """One metric of the joint model and of each site's own, at that site, on one scale."""
    from fedtui.report.comparison import estimate

    pairs = [
        (site, model, estimate(found.cells.get((model, site)), metric))
        for site in found.sites
        for model in (_FEDERATED, f"local:{site}")
    ]
    ends = [end for _, _, one in pairs for end in (*_ends(one), one.value) if end is not None]
    ideal = _IDEAL.get(metric)
    ends += [ideal] if ideal is not None and ends else []
    if not ends:
        return [(("No site tells it.", "dim"),)]
    low, high = min(ends), max(ends)
    wide = max(8, width - 24 - 10 - 23 - 3)
    columns = [
        Column("AT", 24),
        Column("MODEL", 10),
        Column("VALUE", 23),
        Column(f"{low:.3g} ... {high:.3g}", wide),
    ]
    rows: list[list[Span]] = []
    for site, model, one in pairs:
        joint = model == _FEDERATED
        line = interval(one, low, high, ideal, wide, ascii=view.glyphs.ascii)
        rows.append(
            [
                (site if joint else "", "mine" if site == view.progress.site else ""),
                ("federated" if joint else "own", "title" if joint else ""),
                (_between(one), ""),
                (line, "work" if joint else ""),
            ]
        )
    return text.table(columns, rows, width)


def classes(found: "Comparison", width: int, view: View) -> list[Line]:
    """Patients of each outcome at each site, as bars of one scale; to the nearest five."""
    told = [(site, found.cells.get((_FEDERATED, site))) for site in found.sites]
    most = max((n for _, cell in told if cell for n in cell.outcomes), default=0)
    lines: list[Line] = []
    room = max(4, width - 24 - 12 - 8)
    for site, cell in told:
        if cell is None or not cell.outcomes:
            lines.append(text.line((f"{site:<24} ", ""), ("too few, or not told", "dim")))
            continue
        for outcome, count in enumerate(cell.outcomes):
            bar = view.glyphs.bar * max(1, round(room * count / most))
            head = site if not outcome else ""
            lines.append(
                text.line(
                    (f"{head:<24} ", ""), (f"outcome {outcome:<2} ", "dim"), (bar, "work"),
                    f" ~{count}",
                )
            )  # fmt: skip
    return lines


def matrix(found: "Comparison", width: int) -> list[Line]:
    """The primary metric of every model at every site, and why a cell is empty."""
    size = max(8, min(16, (width - 24) // max(1, len(found.sites)) - 1))
    shown = found.sites[: max(1, (width - 24) // (size + 1))]
    columns = [
        Column(f"{found.metric.upper()} OF", 0),
        *(Column(s, size, ">") for s in shown),
    ]
    rows: list[list[Span]] = []
    for model in found.models:
        row: list[Span] = [(model, "title" if model == _FEDERATED else "")]
        for site in shown:
            cell = found.cells.get((model, site))
            value = None if cell is None else cell.metrics.get(found.metric)
            missing = "--" if found.outcome else "not yet"
            row.append((missing if cell is None else number(value), "" if value else "dim"))
        rows.append(row)
    lines = text.table(columns, rows, width)
    if len(shown) < len(found.sites):
        told = f"{len(found.sites) - len(shown)} more sites: m draws them, one under the other"
        lines.append(((told, "dim"),))
    if not found.outcome:
        return [*lines, (("Validation is under way; cells come as sites answer.", "wait"),)]
    whys = dict.fromkeys(
        f"-- {site}, {model}: {found.why(model, site)}"
        for model in found.models
        for site in found.sites
        if (model, site) not in found.cells or found.cells[model, site].withheld
    )
    lines += [((text.cut(why, width, "~"), "dim"),) for why in list(whys)[:_WITHHELD]]
    if len(whys) > _WITHHELD:
        lines.append(((f"-- and {len(whys) - _WITHHELD} more; 7 Logs has all of them", "dim"),))
    return lines


def number(value: float | None) -> str:
    """A metric, or '--' where there is none."""
    return "--" if value is None else f"{value:.3f}"


def ends_of(estimate: "Estimate", words: str) -> str:
    """``words`` with both ends of the interval, or nothing where there is none."""
    ends = _ends(estimate)
    return words.format(*ends) if ends else ""


def _ends(estimate: "Estimate") -> tuple[float, float] | tuple[()]:
    if estimate.low is None or estimate.high is None:
        return ()
    return estimate.low, estimate.high


def _between(estimate: "Estimate") -> str:
    return number(estimate.value) + ends_of(estimate, " ({:.3f} to {:.3f})")


def _difference(row: "Row") -> str:
    value = row.difference.value
    if value is None:
        return "--"
    return f"{value:+.3f}{ends_of(row.difference, ' ({:+.3f}, {:+.3f})')}"
