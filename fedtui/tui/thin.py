"""An app for thin lines: sends changed cells only, never blocks on a terminal that is behind."""

import asyncio
from typing import Any

from textual import events
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.screen import Screen

from fedtui.tui.cells import Cells

_QUEUED_WRITES = 4  # of the 30 after which Textual's writer blocks the loop
_RETRY_SECONDS = 0.2


class ThinApp(App[None], inherit_bindings=False):
    """Textual's app with the cell-diff layer between it and the terminal.

    Args:
        diff: Whether only changed cells are sent; without it Textual's own stream is.
    """

    def __init__(self, *, diff: bool) -> None:
        super().__init__()
        self._diff = diff
        self._cells = Cells(80, 24)
        self._late = False

    def leave(self) -> None:
        """Exit; may be called from a signal handler or another thread."""
        loop: asyncio.AbstractEventLoop | None = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.exit)

    def action_repaint(self) -> None:
        """The terminal shows something else, e.g. another program's message."""
        self._cells.invalidate()
        self.screen.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """Another size, or the terminal is back after a suspension."""
        self._cells.resize(*event.size)
        self.call_after_refresh(self._send)

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if not self._diff or self.is_headless or not isinstance(renderable, CompositorUpdate):
            super()._display(screen, renderable)
            self._cells.invalidate()
            return
        if not self._batch_count and self._running and not self._closed and self._driver:
            if (self._cells.width, self._cells.height) != self.size:
                self._cells.resize(*self.size)
            self._cells.accept(renderable)
            self._send()
        self.post_display_hook()

    def _send(self) -> None:
        """Send what differs, unless the terminal is behind: then later, and only the outcome."""
        self._late = False
        writer = getattr(self._driver, "_writer_thread", None)
        if not self._diff or writer is None:
            return
        if writer._queue.qsize() > _QUEUED_WRITES:
            self._late = True
            self.set_timer(_RETRY_SECONDS, self._catch_up)
            return
        if frame := self._cells.frame():
            assert self._driver is not None
            self._begin_update()
            self._driver.write(frame)
            self._end_update()

    def _catch_up(self) -> None:
        if self._late:
            self._send()
