"""Follows a source of records and shows what is known, one page at a time."""

import os
import time
from collections import deque
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from textual import events
from textual.message import Message
from textual.screen import Screen

from fedtui.errors import OperatorError
from fedtui.progress import Progress
from fedtui.record import Record
from fedtui.site import Home
from fedtui.tui import actions, host, terminal, text
from fedtui.tui.checking import Checkup
from fedtui.tui.host import Host
from fedtui.tui.screens.agreements import Agreements
from fedtui.tui.screens.connect import Connect
from fedtui.tui.screens.exports import Exports
from fedtui.tui.screens.frame import Frame, Page
from fedtui.tui.screens.joining import Joining
from fedtui.tui.screens.logs import Logs
from fedtui.tui.screens.overview import Overview
from fedtui.tui.screens.rounds import Rounds
from fedtui.tui.screens.validation import Validation
from fedtui.tui.sources import Follower, Live, Source
from fedtui.tui.thin import ThinApp
from fedtui.tui.view import View

KEPT_RECORDS = 5_000  # for Logs; about 6 MB
_AGE_SECONDS = 5.0  # no clock of the dashboard is faster: an idle screen sends nothing
_LOCAL_SECONDS, _SSH_SECONDS = 0.2, 0.5  # between two snapshots
_FIRST_SECONDS = 0.15  # how long the first frame may wait for the journal

Delivery = tuple[Progress, list[Record], Exception | None]


class News(Message):
    """Something is in the inbox."""


class Viewer(ThinApp, inherit_bindings=False):
    """What the dashboard is before any key: one screen at a time over one source of records.

    Args:
        source: A home's journal, or a log that is played again.
        home: What to look at on this host beside the journal; None for a replayed log.
        diff: Whether only changed cells are sent; without it Textual's own stream is.
    """

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
            checkup=Checkup() if home else None,
        )
        self._held: View | None = None
        self._undecided = True
        self._noted = 0.0  # when the note was set, by the clock of Textual's events
        self._records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._inbox: SimpleQueue[Delivery] = SimpleQueue()
        pause = _SSH_SECONDS if terminal.over_ssh(os.environ) else _LOCAL_SECONDS
        self._follower = Follower(source, self._deliver, seconds=pause)
        self._logs = Logs()
        self._connect = Connect()
        self._exports = Exports()
        self._joining = Joining()
        self._agreements = Agreements()
        pages: tuple[Page, ...] = (
            Overview(),
            self._connect,
            self._joining,
            self._agreements,
            Rounds(),
            Validation(),
            self._logs,
            self._exports,
        )
        self._pages = {p.name: p for p in pages}
        self._frame = Frame(self._pages[actions.OVERVIEW])

    def _deliver(self, progress: Progress, fresh: list[Record], problem: Exception | None) -> None:
        """Called in the follower's thread."""
        self._inbox.put((progress, fresh, problem))
        self.post_message(News())

    def _collect(self) -> list[Record]:
        """Take in every delivery there is; returns the records that came."""
        came: list[Record] = []
        while not self._inbox.empty():
            progress, fresh, problem = self._inbox.get()
            self._records.extend(fresh)
            came += fresh
            said = ""
            if isinstance(problem, OperatorError):
                said = problem.sentences
            elif problem is not None:
                said = f"no more news: {type(problem).__name__}; 'fedtui logs' may tell more"
            self._view = replace(
                self._view, progress=progress, problem=said, reading=self._follower.reading
            )
        return came

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
            log=self._view.log,
            checkup=self._view.checkup,
            desk=self._view.desk,
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
        if changes.get("note"):
            self._noted = time.monotonic()
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
        came = self._collect()
        self._open()
        self.redraw()
        self.heard(came)

    def heard(self, records: list[Record]) -> None:
        """What may follow from new records."""

    def tick(self) -> None:
        """Time has passed."""
        self.redraw(host=self._look())

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002 - as in the base
        """Another size: panels are arranged anew. Textual calls the bases' handlers too."""
        self.call_after_refresh(self.redraw)
