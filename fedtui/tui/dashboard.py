"""The dashboard itself: follows a source of records and shows them, page by page."""

import os
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen

from fedtui.errors import OperatorError
from fedtui.journal import Record
from fedtui.progress import Progress
from fedtui.site import Home
from fedtui.tui import actions, files, host, terminal, text
from fedtui.tui.host import Host
from fedtui.tui.screens.frame import Frame, Page
from fedtui.tui.screens.logs import LEVELS, Logs
from fedtui.tui.screens.overlays import Help, Palette, Prompt
from fedtui.tui.screens.overview import Overview
from fedtui.tui.screens.rounds import Rounds
from fedtui.tui.sources import Follower, Live, Source
from fedtui.tui.thin import ThinApp
from fedtui.tui.view import View

_KEPT_RECORDS = 5_000  # for Logs; about 6 MB
_AGE_SECONDS = 5.0  # no clock of the dashboard is faster: an idle screen sends nothing
_LOCAL_SECONDS, _SSH_SECONDS = 0.2, 0.5  # between two snapshots
_FIRST_SECONDS = 0.15  # how long the first frame may wait for the journal

Delivery = tuple[Progress, list[Record], Exception | None]


class News(Message):
    """Something is in the inbox."""


class Dashboard(ThinApp, inherit_bindings=False):
    """The viewer: one screen at a time over one source of records.

    Args:
        source: A home's journal, or a log that is played again.
        home: What to look at on this host beside the journal; None for a replayed log.
        diff: Whether only changed cells are sent; without it Textual's own stream is.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    ModalScreen { background: transparent; align: center bottom; }
    Help { align: center top; }
    Help #box { margin-top: 1; }
    Palette #box { margin-bottom: 1; }
    Input, Input:focus {
        height: 1; border: none; padding: 0 1; background: ansi_default; color: ansi_default;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *((key, a.name, a.help) for a in actions.ACTIONS for key in a.keys),
        ("ctrl+c", "interrupt", ""),
    ]

    def __init__(
        self,
        source: Source,
        home: Home | None = None,
        *,
        ascii: bool = False,
        readonly: bool = False,
        diff: bool = True,
    ) -> None:
        super().__init__(diff=diff)
        self._source, self._home = source, home
        self._view = View(
            progress=Progress(),
            live=isinstance(source, Live),
            reading=True,
            readonly=readonly,
            glyphs=text.ASCII if ascii else text.UNICODE,
        )
        self._held: View | None = None
        self._undecided = True
        self._records: deque[Record] = deque(maxlen=_KEPT_RECORDS)
        self._inbox: SimpleQueue[Delivery] = SimpleQueue()
        pause = _SSH_SECONDS if terminal.over_ssh(os.environ) else _LOCAL_SECONDS
        self._follower = Follower(source, self._deliver, seconds=pause)
        self._logs = Logs()
        self._pages: dict[str, Page] = {p.name: p for p in (Overview(), Rounds(), self._logs)}
        self._frame = Frame(self._pages[actions.OVERVIEW])

    # From the source to the screen.

    def _deliver(self, progress: Progress, fresh: list[Record], problem: Exception | None) -> None:
        """Called in the follower's thread."""
        self._inbox.put((progress, fresh, problem))
        self.post_message(News())

    def _collect(self) -> None:
        while not self._inbox.empty():
            progress, fresh, problem = self._inbox.get()
            self._records.extend(fresh)
            said = ""
            if isinstance(problem, OperatorError):
                said = f"{problem} {problem.remedy}"
            elif problem is not None:
                said = f"no more news: {type(problem).__name__}; 'fedtui logs' may tell more"
            self._view = replace(
                self._view, progress=progress, problem=said, reading=self._follower.reading
            )

    def _look(self) -> Host | None:
        if self._home is None:
            return None
        try:
            return host.look(self._home, self._view.progress.processes)
        except OSError:  # the home is gone, or not ours: the journal's problem says so
            return self._view.host

    @property
    def progress(self) -> Progress:
        """What is known."""
        return self._view.progress

    @property
    def view(self) -> View:
        """What is shown: what is known now, or when the display was held."""
        shown = self._held or self._view
        return replace(
            shown,
            note=self._view.note,
            glyphs=self._view.glyphs,
            raster=self._view.raster,
            chosen=self._view.chosen,
            zoomed=self._view.zoomed,
            charted=self._view.charted,
            paused=self._held is not None,
            records=shown.records or self._records,
            now=shown.now or self._source.now(),
        )

    @property
    def page(self) -> Page:
        """The page in front, or under what is open over it."""
        return self._frame.page

    def redraw(self, **changes: Any) -> None:
        """Show the view again, with ``changes`` to it."""
        if changes:
            self._view = replace(self._view, **changes)
        self._frame.show(self.view)

    def on_load(self) -> None:
        """Follow while Textual starts."""
        self._follower.start()

    def get_default_screen(self) -> Screen[Any]:
        """Rounds when there is a run to watch, else Overview."""
        self._follower.caught_up.wait(_FIRST_SECONDS)
        self._collect()
        self._view = replace(self._view, host=self._look())
        self._open()
        return self._frame

    def _open(self) -> None:
        """Turn to Rounds as soon as a run is known, unless the operator was faster."""
        if self._undecided and self.progress.run:
            self._frame.page = self._pages[actions.ROUNDS]
            self._undecided = False
        self._undecided = self._undecided and self._view.reading

    def on_mount(self) -> None:
        """Ages move and the host is looked at every few seconds."""
        self.set_interval(_AGE_SECONDS, self.tick)

    def on_unmount(self) -> None:
        """The follower ends with the screen."""
        self._follower.stop()

    def on_news(self) -> None:
        """A snapshot, or several: the last one is drawn."""
        self._collect()
        self._open()
        self.redraw()

    def tick(self) -> None:
        """Time has passed."""
        self.redraw(host=self._look())

    def on_resize(self, event: events.Resize) -> None:
        """Another size: panels are arranged anew. Textual calls the bases' handlers too."""
        self.call_after_refresh(self.redraw)

    # What an operator can do; ``actions`` says with which keys, and where.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is valid on the screen in front."""
        known = next((a for a in actions.ACTIONS if a.name == action), None)
        return known is None or not known.on or self.page.name in known.on

    def on_key(self) -> None:
        """A note stands until the next key."""
        if self._view.note:
            self.redraw(note="")

    def _turn(self, name: str) -> None:
        self._undecided = False
        self._frame.page = self._pages[name]
        self.redraw()

    def action_overview(self) -> None:
        self._turn(actions.OVERVIEW)

    def action_rounds(self) -> None:
        self._turn(actions.ROUNDS)

    def action_logs(self) -> None:
        self._turn(actions.LOGS)

    def action_chart(self) -> None:
        self.redraw(charted=self._view.charted + 1)

    def action_zoom(self) -> None:
        self.redraw(zoomed=not self._view.zoomed)

    def action_braille(self) -> None:
        self.redraw(raster="blocks" if self._view.raster == "braille" else "braille")

    def action_ascii(self) -> None:
        self.redraw(glyphs=text.UNICODE if self._view.glyphs.ascii else text.ASCII)

    def action_up(self) -> None:
        self._step(-1)

    def action_down(self) -> None:
        self._step(1)

    def _step(self, rows: int) -> None:
        if self.page is self._logs:
            self._logs.move(rows)
            self.redraw()
        elif run := self.progress.run:
            self.redraw(chosen=max(0, min(len(run.sites) - 1, self._view.chosen + rows)))

    def action_page_up(self) -> None:
        self._logs.page(-1)
        self.redraw()

    def action_page_down(self) -> None:
        self._logs.page(1)
        self.redraw()

    def action_top(self) -> None:
        self._logs.move(-_KEPT_RECORDS)
        self.redraw()

    def action_bottom(self) -> None:
        self._logs.follow(True)
        self.redraw()

    def action_follow(self) -> None:
        self._logs.follow()
        self.redraw()

    def action_level(self) -> None:
        self._logs.level = (self._logs.level + 1) % len(LEVELS)
        self.redraw()

    def action_filter(self) -> None:
        def take(words: str | None) -> None:
            self._logs.words = words or ""
            self.redraw()

        self.push_screen(Prompt(self._logs.words), take)

    def action_hold(self) -> None:
        if self._held is None:
            view = self.view
            self._held = replace(view, records=tuple(view.records))
        else:
            self._held = None
        self.redraw()

    def action_palette(self) -> None:
        async def take(action: actions.Action | None) -> None:
            if action is not None:
                await self.run_action(action.name)

        self.push_screen(Palette(self.page.name, self._view.glyphs), take)

    def action_guide(self) -> None:
        self.push_screen(Help(self.page.name, self._view.glyphs))

    def action_copy(self) -> None:
        shown = self._frame.text
        self.copy_to_clipboard(shown)
        self._write("txt", shown + "\n", "copied, and written to")

    def action_write(self) -> None:
        picture = files.offline(self.export_screenshot(title=f"fedtui {self.page.name}"))
        self._write("svg", picture, "written to")

    def _write(self, kind: str, content: str, said: str) -> None:
        name = f"fedtui-{self.page.name}-{time.strftime('%Y%m%d-%H%M%S')}.{kind}"
        home = [self._home.path] if self._home else []
        path = files.write(name, content, [Path.cwd(), *home, Path(tempfile.gettempdir())])
        failed = "no folder here can be written to; free some disk space"
        self.redraw(note=f"{said} {path}" if path else failed)

    def action_leave(self) -> None:
        self.exit()

    def action_interrupt(self) -> None:
        self.exit(return_code=130)
