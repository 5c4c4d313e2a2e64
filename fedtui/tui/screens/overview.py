"""Overview: where this site stands, what to do next, and what runs here."""

from fedtui.tui import actions, text
from fedtui.tui.panels import run as of_run
from fedtui.tui.panels import site
from fedtui.tui.text import Line, Panel
from fedtui.tui.view import View


class Overview:
    """Screen 1."""

    name = actions.OVERVIEW

    def draw(self, view: View, width: int, height: int) -> list[Line]:
        """The way to a run, this site, its processes, alarms; a chart where there is room."""
        if width < 110:
            return _column(view, width, height)
        right = max(46, width * 2 // 5)
        left = width - right
        way, here, machine = site.way(view), site.here(view, left), site.machine(view)
        rest = max(3, height - way.height - here.height - machine.height - 5)
        alarms = site.alarms(view, left, rest)
        return text.beside(
            [
                (text.stack([way, here, machine, alarms], left, view.glyphs), left),
                (text.stack(_run(view, right, height), right, view.glyphs), right),
            ]
        )


def _column(view: View, width: int, height: int) -> list[Line]:
    way, here, machine = site.way(view), site.here(view, width), site.machine(view)
    rest = height - way.height - here.height - machine.height - 5
    panels = [way, here, machine]
    panels.append(site.alarms(view, width, max(1, rest)))
    return text.stack(panels, width, view.glyphs)[:height]


def _run(view: View, width: int, height: int) -> list[Panel]:
    run = view.progress.run
    if run is None:
        return [site.events(view, width, height - 2)]
    chart = min(14, (height - 3) // 2)
    events = site.events(view, width, height - 3 - chart)
    return [of_run.charted(view, run, run.metric, width, chart), events]
