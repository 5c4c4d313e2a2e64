"""Rounds: the run round by round, at one glance."""

from dataclasses import replace

from fedtui.progress import RunProgress
from fedtui.tui import actions, chart, text, words
from fedtui.tui.panels import run as of_run
from fedtui.tui.panels import site
from fedtui.tui.text import Line, Panel
from fedtui.tui.view import View

_SITES = 6  # rows of the table before it scrolls, where a chart needs the room too


class Rounds:
    """Screen 5."""

    name = actions.ROUNDS

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """One, two or three columns, by the width; the same facts in each."""
        run = view.progress.run
        if run is None:
            return _empty(view, width, height)
        if width < 110 or height < 24:
            return _column(view, run, width, height)
        if width < 150 or height < 40:
            return _two(view, run, width, height)
        return _three(view, run, width, height)


def _column(view: View, run: RunProgress, width: int, height: int) -> list[Line]:
    sites = of_run.sites(view, run, width, _SITES)
    here = site.here(view, width)
    room = height - sites.height - here.height - 5  # four titles and the last line
    events = max(1, min(8, room // 4))
    measures = of_run.measures(run)
    measure = measures[view.charted % len(measures)]
    if room - events < chart.LEAST:
        panels = [sites, here, site.events(view, width, max(1, room + 1))]
        return text.stack(panels, width, view.glyphs)[:height]
    drawn = of_run.charted(view, run, measure, width, room - events)
    panels = [sites, drawn, here, site.events(view, width, events)]
    return text.stack(panels, width, view.glyphs)[:height]


def _two(view: View, run: RunProgress, width: int, height: int) -> list[Line]:
    right = 40
    left = width - right
    sites = of_run.sites(view, run, left, 10)
    here = site.here(view, right)
    return text.beside(
        [
            (
                text.stack(
                    [sites, *_charts(view, run, left, height - sites.height - 2, 2)],
                    left,
                    view.glyphs,
                ),
                left,
            ),
            (
                text.stack(
                    [here, site.events(view, right, height - here.height - 3)],
                    right,
                    view.glyphs,
                ),
                right,
            ),
        ]
    )


def _three(view: View, run: RunProgress, width: int, height: int) -> list[Line]:
    side, logs = 40, max(8, height // 5)
    middle = width - 2 * side
    upper = height - logs - 2
    sites = of_run.sites(view, run, middle, 10)
    way, here = site.way_narrow(view, side), site.here(view, side)
    rest = max(1, upper - way.height - here.height - 4)
    machine = replace(site.machine(view), height=rest)
    charts = _charts(view, run, middle, upper - sites.height - 2, 3)
    agreement = _agreement(run)
    alarms = site.alarms(view, side, upper - len(agreement) - 3)
    columns = [
        ([way, here, machine], side),
        ([sites, *charts], middle),
        ([Panel("Agreement", agreement, len(agreement)), alarms], side),
    ]
    return [
        *text.beside([(text.stack(p, w, view.glyphs)[:upper], w) for p, w in columns]),
        *text.stack([site.events(view, width, logs)], width, view.glyphs),
    ]


def _charts(view: View, run: RunProgress, width: int, height: int, most: int) -> list[Panel]:
    """As many charts as fit, from the one that was chosen; heights share ``height`` with titles."""
    measures = of_run.measures(run)
    start = view.charted % len(measures)
    shown = [*measures[start:], *measures[:start]][:most]
    panels = []
    for index, measure in enumerate(shown):
        left = len(shown) - index
        own = (height - left) // left
        height -= own + 1
        panels.append(of_run.charted(view, run, measure, width, own))
    return panels


def _agreement(run: RunProgress) -> list[Line]:
    return [
        text.line(("run         ", "dim"), run.run),
        text.line(("study       ", "dim"), run.study),
        text.line(("fingerprint ", "dim"), run.fingerprint[:16]),
        text.line(("sites       ", "dim"), ", ".join(run.sites)),
        text.line(("train       ", "dim"), ", ".join(run.train_sites)),
        text.line(("metric      ", "dim"), words.metric(run.metric)),
    ]


def _empty(view: View, width: int, height: int) -> list[Line]:
    if view.coordinates:
        key = "n here, or 'fedtui run STUDY'" if view.orders else "'fedtui run STUDY'"
        order = f"A study that all its sites have signed (4) is run with {key}."
    else:
        order = "The coordinator starts one with 'fedtui run STUDY'; it then shows here."
    lines: list[Line] = [(("No run has been started yet.", "title"),), *text.wrap(order, width - 4)]
    way = site.way(view)
    news = max(1, height - len(lines) - way.height - 4)
    panels = [
        Panel("Rounds", lines, len(lines)),
        way,
        site.events(view, width, news),
    ]
    return text.stack(panels, width, view.glyphs)[:height]
