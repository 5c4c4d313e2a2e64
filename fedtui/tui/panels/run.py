"""The run under way or the last one: its sites, its charts, what this site gave."""

from collections.abc import Sequence

from fedtui.events import RoundEnded
from fedtui.progress import RunProgress, SiteProgress
from fedtui.tui import chart, text, words
from fedtui.tui.chart import Series
from fedtui.tui.text import Column, Line, Panel, Span
from fedtui.tui.view import View

_LINES = len(chart.MARKERS) - 1  # sites in one chart, each with a sign of its own
_POINTS = 160  # as many as a chart has columns; a frame of 50 sites stays below 100 ms
_DURATIONS = "durations"
_NAME = 13  # cells that a site's name has before any other column; a longer one is cut
_LEAST = (3, 4, 7, 5)  # columns by how soon they give way: STEP, EX, NEWS, LOSS
_SERIES_ROLES = ("series0", "series1", "series2", "series3", "series4", "series5")


def sites(view: View, run: RunProgress, width: int, most: int) -> Panel:
    """Every site's state and numbers; ``most`` rows, around the chosen site."""
    inner = width - 4
    more = max(0, min(4, (inner - 90) // 7))  # cells that a wide screen adds to each column
    columns = [
        Column(" SITE", 0),
        Column("STATE", 12 + more),
        Column("ROUND", 5 + more, ">"),
        Column("STEP", 9 + more, ">"),
        Column("EX", 7 + more, ">"),
        Column("LOSS", 6 + more, ">"),
        Column(run.metric.upper()[:9], max(6, min(9, len(run.metric))) + more, ">"),
        Column("NEWS", 8 + more, ">"),
    ]
    columns, kept = _fitting(columns, run, inner)
    everyone = list(run.sites.values())
    start = max(0, min(view.chosen - most // 2, len(everyone) - most))
    rows = [
        [
            cell
            for cell, on in zip(
                _row(view, run, site, chosen=start + offset == view.chosen), kept, strict=True
            )
            if on
        ]
        for offset, site in enumerate(everyone[start : start + most])
    ]
    share = len(run.history) / run.rounds
    left = "held up" if words.waiting(run, view.now) else words.remaining(run)
    speed = f"{words.span(run.seconds_a_round)} a round" if run.seconds_a_round else ""
    spent = "" if run.epsilon is None else f"epsilon {run.epsilon:.2f} spent here"
    told = [part for part in (spent, speed, left) if part]
    if len(everyone) > most:
        told.append(f"site {view.chosen + 1} of {len(everyone)}")
    title = f"Round {run.round}/{run.rounds}"
    room = width - len(title) - len(", ".join(told)) - 20
    legend = bar(share, max(4, min(40, room)), view) if room >= 4 else ()
    lines = text.table(columns, rows, inner)
    return Panel(title, lines, 1 + len(rows), right=", ".join(told), legend=legend)


def _fitting(
    columns: list[Column], run: RunProgress, width: int
) -> tuple[list[Column], list[bool]]:
    """The columns that leave sites their names, and which of all those are."""
    wanted = min(_NAME, 1 + max(map(len, run.sites), default=0))
    kept = [True] * len(columns)
    for column in _LEAST:
        taken = sum(c.width + 1 for c, on in zip(columns, kept, strict=True) if on) - 1
        if width - taken >= wanted:
            break
        kept[column] = False
    return [c for c, on in zip(columns, kept, strict=True) if on], kept


def bar(share: float, width: int, view: View) -> Line:
    """A bar of ``width`` cells between brackets, and the share in per cent."""
    full = int(share * width)
    return (
        ("[", "frame"),
        (view.glyphs.bar * full, "work"),
        (view.glyphs.rest * (width - full), "frame"),
        ("]", "frame"),
        (f" {share * 100:.0f}%", ""),
    )


def _row(view: View, run: RunProgress, site: SiteProgress, *, chosen: bool) -> list[Span]:
    mine = site.name == view.progress.site
    state, role = words.state(site)
    if run.over:
        state, role = ("- DONE", "dim") if run.state == "COMPLETED" else (f"- {run.state}", "dim")
    step = f"{site.step}/{site.steps}" if site.steps and not run.over else "--"
    if len(step) > 9:  # five digits each do not fit
        step = f"{100 * site.step // site.steps}%"
    if not site.news:
        news = "--"
    elif run.over:
        news = words.clock(site.news)
    else:
        news = words.age(view.now - site.news)
    return [
        ((">" if chosen else " ") + site.name, "mine" if mine else ""),
        (state, role),
        (str(site.round) if site.round else "--", ""),
        (step, ""),
        (words.count(site.examples) if site.examples else "--", ""),
        (words.value(site.loss), ""),
        (words.value(site.metrics.get(run.metric)), ""),
        (news, "warn" if not site.here and not run.over else "dim"),
    ]


def measures(run: RunProgress) -> list[str]:
    """What can be charted, the study's metric first."""
    names = [run.metric, "loss"]
    return [*dict.fromkeys(names), "seconds", _DURATIONS]


def lines_of(view: View, run: RunProgress, measure: str) -> list[Series]:
    """One line for the joint model and one a site, or the parts of a round for 'seconds'."""
    rounds = _thinned(run.history)
    if measure == "seconds":
        return [
            _series(part, index, [(r.round, r.seconds.get(part)) for r in rounds])
            for index, part in enumerate(("total", "train", "transfer", "waiting"))
        ]
    everyone = list(run.sites)
    start = max(0, min(view.chosen - _LINES // 2, len(everyone) - _LINES))
    shown = everyone[start : start + _LINES]
    if view.zoomed and everyone:
        shown = [everyone[view.chosen]]
    joint = _series("joint", 0, [(r.round, r.metrics.get(measure)) for r in rounds])
    return [
        joint,
        *(
            _series(
                name,
                1 + everyone.index(name) % _LINES,
                [(r.round, r.by_site.get(name, {}).get(measure)) for r in rounds],
            )
            for name in shown
        ),
    ]


def _series(name: str, index: int, points: list[tuple[int, float | None]]) -> Series:
    return Series(
        name=name,
        marker=chart.MARKERS[index],
        role=_SERIES_ROLES[index % len(_SERIES_ROLES)],
        points=tuple((r, v) for r, v in points if v is not None),
    )


def _thinned(history: tuple[RoundEnded, ...]) -> list[RoundEnded]:
    """At most about ``_POINTS`` rounds, evenly, and always the last."""
    step = max(1, len(history) // _POINTS)
    return list(reversed(history[::-1][::step]))


def charted(view: View, run: RunProgress, measure: str, width: int, height: int) -> Panel:
    """The chart of one measure by round, its legend in the frame."""
    if measure == _DURATIONS:
        return _durations(view, run, width, height)
    series = lines_of(view, run, measure)
    drawn = chart.draw(
        series,
        width=width - 4,
        height=height,
        glyphs=view.glyphs,
        raster=view.raster,
        rounds=run.rounds,
        log=(log := view.log and _above_zero(series)),
    )
    title = "Seconds a round" if measure == "seconds" else words.title(measure)
    if view.log:
        title += " (log)" if log else " (not log: some are 0 or less)"
    legend: list[Span] = []
    for one in series:
        last = words.value(one.points[-1][1]) if one.points else "--"
        legend.append((f" {one.marker} ", one.role))
        legend.append((f"{one.name} {last} ", ""))
    if not drawn:
        begun = "The first point comes when the first round ends."
        empty = "No round ended in this run." if run.over else begun
        if any(one.points for one in series):
            empty = "A chart does not fit here: it needs a larger window."
        return Panel(title, [((empty, "dim"),)], height)
    return Panel(title, drawn, height, legend=tuple(legend))


def _above_zero(series: Sequence[Series]) -> bool:
    return all(value > 0 for one in series for _, value in one.points)


def _durations(view: View, run: RunProgress, width: int, height: int) -> Panel:
    """How many rounds took how long: a long tail is a site that is late at times."""
    took = [r.seconds["total"] for r in run.history if "total" in r.seconds]
    drawn = chart.bars(took, unit="s", width=width - 4, height=height, glyphs=view.glyphs)
    if not drawn:
        drawn = [(("No round has ended yet.", "dim"),)]
    return Panel("Rounds by how long they took", drawn, height)


def given(view: View, run: RunProgress | None, width: int) -> list[Line]:
    """What has left this site in the run: kinds, how often, bytes before HTTP and TLS."""
    if run is not None and not run.left and view.trains:
        return [(("left in this run  nothing yet", ""),)]
    if run is None or not run.left:
        if not view.progress.roles and not view.live:
            return [(("left this site  this log does not tell", "dim"),)]
        if not view.progress.roles:
            return [(("left this site  nothing: there is no site yet", ""),)]
        if not view.trains:
            return [(("left this site  nothing: a coordinator only, it holds no data", ""),)]
        return [(("left this site  nothing yet: no run has begun", ""),)]
    total = words.size(sum(size for _, size in run.left.values()))
    kinds = ", ".join(f"{n} {plural(kind, n)}" for kind, (n, _) in run.left.items())
    head = ("left in this run  ", "dim")
    if len(head[0]) + len(total) + 2 + len(kinds) <= width:
        return [(head, (f"{total}: {kinds}", "mine"))]
    return [(head, (total, "mine")), *text.wrap(kinds, width)]


def plural(kind: str, number: int) -> str:
    """'model update' or 'model updates'; kinds that end in s are plural already."""
    return kind if number == 1 or kind.endswith("s") else kind + "s"
