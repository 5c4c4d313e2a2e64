"""Opens the dashboard: what ``fedtui`` and ``fedtui replay`` call."""

import os
import sys
from pathlib import Path

from fedtui import site
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.tui import terminal
from fedtui.tui.dashboard import Dashboard
from fedtui.tui.sources import Live, Replay, Source, read_log, site_of

__all__ = ["Dashboard", "replay", "run"]


def run(
    home: Home,
    *,
    mouse: bool = False,
    ascii: bool | None = None,
    readonly: bool = False,
    diff: bool = True,
) -> int:
    """Open the dashboard on ``home`` until the operator leaves it; returns the exit code.

    Args:
        ascii: Draw with ASCII only; None finds out what the terminal shows.
        readonly: Say that this is a viewer's dashboard; it offers no orders.

    Raises:
        UsageError: no terminal to draw on, or no home there to look at only; names the command
            that needs none.
        OperatorError: the journal cannot be read.
    """
    terminal.require()
    if home.settings.exists() or readonly:  # without a home the dashboard makes one
        site.load(home)
        Journal(home.journal, source="viewer").close()  # a broken or foreign one is named here
    return _show(Live(home.journal), home, mouse=mouse, ascii=ascii, readonly=readonly, diff=diff)


def replay(
    path: Path,
    *,
    speed: float = 1.0,
    mouse: bool = False,
    ascii: bool | None = None,
    diff: bool = True,
) -> int:
    """The same dashboard over an exported log, ``speed`` times as fast; 0 shows its end at once.

    Raises:
        UsageError: the file cannot be read, or there is no terminal.
        DataError: it is not a log of fedtui's.
    """
    terminal.require()
    source = Replay(read_log(path), speed=speed, site=site_of(path))
    return _show(source, None, mouse=mouse, ascii=ascii, readonly=True, diff=diff)


def _show(
    source: Source,
    home: Home | None,
    *,
    mouse: bool,
    ascii: bool | None,
    readonly: bool,
    diff: bool,
) -> int:
    plain = terminal.wants_ascii() if ascii is None else ascii
    for fixed in ("COLUMNS", "LINES"):  # exported by some shells; Textual would never resize
        os.environ.pop(fixed, None)
    dashboard = Dashboard(source, home, ascii=plain, readonly=readonly, diff=diff)
    farewell = terminal.Farewell(dashboard.leave)
    try:
        dashboard.run(mouse=mouse)
    except OSError:
        if farewell.code is None:
            raise
    if farewell.code is not None:
        farewell.end()
    view = dashboard.view
    if home is not None and view.running and view.host is not None and view.host.alive:
        print("The viewer is closed; training continues.", file=sys.stderr)  # noqa: T201
    return dashboard.return_code or 0
