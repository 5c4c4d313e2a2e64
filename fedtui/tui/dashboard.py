"""The dashboard: the viewer, and everything that an operator can do with it."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from fedtui.tui import actions, checking, files, text
from fedtui.tui.agreeing import Agreeing
from fedtui.tui.checking import Checkup
from fedtui.tui.members import Members
from fedtui.tui.panels import link
from fedtui.tui.screens.frame import Filtered, Movable
from fedtui.tui.screens.logs import LEVELS
from fedtui.tui.screens.overlays import Help, Palette, Prompt
from fedtui.tui.viewer import KEPT_RECORDS
from fedtui.tui.words import holds

_PAGE_SITES = 10


class Checked(Message):
    """The checks of this home have ended."""

    def __init__(self, checkup: Checkup) -> None:
        super().__init__()
        self.checkup = checkup


class Dashboard(Members, Agreeing, inherit_bindings=False):
    """The viewer with its keys: ``actions`` says which starts what, and where."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    ModalScreen { background: transparent; align: center bottom; }
    Help { align: center top; }
    Form, Confirm, Told { align: center middle; }
    #form { height: auto; }
    .row { height: 1; }
    .row Input { width: 1fr; text-style: underline; }
    .edge { width: 2; }
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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action is valid on the screen in front."""
        valid = self._view.valid(self.page.name)
        named = {a.name for a in actions.ACTIONS}
        return action not in named or any(a.name == action for a in valid)

    def on_key(self, event: events.Key) -> None:
        """A note stands until the next key; not the one that brought it, which comes here last."""
        if self._view.note and event.time > self._noted:
            self.redraw(note="")

    def action_overview(self) -> None:
        self._show_page(actions.OVERVIEW)

    def action_connect(self) -> None:
        self._show_page(actions.CONNECT)

    def action_joining(self) -> None:
        self._show_page(actions.JOIN)

    def action_agreement(self) -> None:
        self._show_page(actions.AGREEMENT)

    def action_validation(self) -> None:
        self._show_page(actions.VALIDATE)

    def action_rounds(self) -> None:
        self._show_page(actions.ROUNDS)

    def action_logs(self) -> None:
        self._show_page(actions.LOGS)

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
        if isinstance(self.page, Movable):
            self.page.move(rows)
            self.redraw()
        elif run := self.progress.run:
            self.redraw(chosen=max(0, min(len(run.sites) - 1, self._view.chosen + rows)))

    def _page(self, direction: int) -> None:
        if isinstance(self.page, Movable):
            self.page.page(direction)
            self.redraw()
        else:
            self._step(_PAGE_SITES * direction)

    def action_page_up(self) -> None:
        self._page(-1)

    def action_page_down(self) -> None:
        self._page(1)

    def action_top(self) -> None:
        self._logs.move(-KEPT_RECORDS)
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
        page = self.page

        def take(words: str | None) -> None:
            if isinstance(page, Filtered):
                page.words = words or ""
                self.redraw()
            elif words:
                self._find_site(words)

        before = page.words if isinstance(page, Filtered) else ""
        self.push_screen(Prompt(before), take)

    def _find_site(self, words: str) -> None:
        names = list(self.progress.run.sites) if self.progress.run else []
        at = next((i for i, name in enumerate(names) if holds(name, words)), None)
        if at is None:
            self.redraw(note=f"no site of this run has '{words}' in its name")
        else:
            self.redraw(chosen=at)

    def action_log_scale(self) -> None:
        self.redraw(log=not self._view.log)

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

        self.push_screen(Palette(self._view.glyphs, self._view.valid(self.page.name)), take)

    def action_guide(self) -> None:
        name = self.page.name
        self.push_screen(Help(name, self._view.glyphs, self._view.valid(name)))

    def action_copy(self) -> None:
        shown = self._frame.text
        self.copy_to_clipboard(shown)
        self._write("txt", shown + "\n", "copied, and written to")

    def action_write(self) -> None:
        picture = files.offline(self.export_screenshot(title=f"fedtui {self.page.name}"))
        self._write("svg", picture, "written to")

    def _write(self, kind: str, content: str, said: str, *, name: str = "") -> None:
        name = f"fedtui-{name or self.page.name}-{time.strftime('%Y%m%d-%H%M%S')}.{kind}"
        home = [self._home.path] if self._home else []
        path = files.write(name, content, [Path.cwd(), *home, Path(tempfile.gettempdir())])
        failed = "no folder here can be written to; free some disk space"
        self.redraw(note=f"{said} {path}" if path else failed)

    def action_check(self) -> None:
        self._check(deep=False)

    def action_check_deep(self) -> None:
        self._check(deep=True)

    def _check(self, *, deep: bool) -> None:
        before = self._view.checkup
        if self._home is None or before is None:
            return
        if before.since is not None:
            self.redraw(note="the checks are under way; they say when they have ended")
            return
        began = replace(before, since=self._source.now(), deep=deep, problem="")
        self.redraw(checkup=began)
        keep = not self._view.readonly
        checking.start(self._home, began, keep=keep, done=self._tell)

    def _tell(self, checkup: Checkup) -> None:
        """Called in the checks' thread."""
        if self.is_running:
            self.post_message(Checked(checkup))

    def on_checked(self, message: Checked) -> None:
        """Show what was found, the worst first."""
        if not message.checkup.problem:
            self._connect.restart()
        self.redraw(checkup=message.checkup)

    def action_copy_ticket(self) -> None:
        finding = self._connect.finding(self._view)
        if finding is None:
            self.redraw(note="nothing was checked yet: r checks")
            return
        ticket, name = link.ticket(finding), f"ticket-{finding.check}"
        self.copy_to_clipboard(ticket)
        what = "the ticket is" if finding.ticket else "no ticket needed; the finding is"
        self._write("txt", ticket, f"{what} copied, and written to", name=name)

    def action_write_tickets(self) -> None:
        found = self._view.checkup.findings if self._view.checkup else ()
        tickets = [link.ticket(finding) for finding in found if finding.ticket]
        if not tickets:
            why = "no finding needs one" if found else "nothing was checked yet: r checks"
            self.redraw(note=f"no ticket was written: {why}")
            return
        said = f"{len(tickets)} ticket{'s' if len(tickets) > 1 else ''} written to"
        self._write("txt", "\n".join(tickets), said, name="tickets")

    def action_leave(self) -> None:
        self.exit()

    def action_interrupt(self) -> None:
        self.exit(return_code=130)
