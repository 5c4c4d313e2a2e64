"""What an operator orders from the dashboard: each order is the operation of a command."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textual.message import Message

from fedtui import operations
from fedtui.record import Record
from fedtui.site import Home
from fedtui.tui import actions, desk, ordering
from fedtui.tui.desk import Desk
from fedtui.tui.ordering import Outcome
from fedtui.tui.screens.forms import Confirm, Field, Form, Told
from fedtui.tui.viewer import Viewer

_YES = ("y", "yes", "ja", "j")


class Ordered(Message):
    """An order has come to its end."""

    def __init__(self, title: str, outcome: Outcome) -> None:
        super().__init__()
        self.title, self.outcome = title, outcome


class Read(Message):
    """A part of the desk was read."""

    def __init__(self, screen: str, change: Callable[[Desk], Desk]) -> None:
        super().__init__()
        self.screen, self.change = screen, change


class Operator(Viewer, inherit_bindings=False):
    """The viewer with orders; what is dangerous asks for a typed word first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._desk_stamp: tuple[int, ...] = ()
        self._desk_again: dict[str, bool] = {}  # screens being read: whether to read once more

    def _order(self, title: str, work: Callable[[], Outcome | str]) -> None:
        self.redraw(note=f"{title}: under way")

        def done(outcome: Outcome) -> None:
            if self.is_running:
                self.post_message(Ordered(title, outcome))

        ordering.start(work, done)

    def on_ordered(self, message: Ordered) -> None:
        """Say what came of it: in the alarm row, or in a box where that is too little."""
        outcome = message.outcome
        self.read_desk()
        said = f"{message.title}: {outcome.said}"
        self.redraw(note=said, host=self._look())
        if outcome.shown or len(said) > self.size.width - 8:
            lines = [outcome.said, *outcome.shown]
            title = f"{message.title}: not done" if outcome.failed else message.title
            self.push_screen(Told(title, lines, self._view.glyphs))

    def _ask(
        self,
        title: str,
        about: str,
        fields: Sequence[Field],
        work: Callable[[Home, dict[str, str]], Outcome | str],
    ) -> None:
        home = self._home
        if home is None:
            return

        def take(given: dict[str, str] | None) -> None:
            if given is not None:
                self._order(title, lambda: work(home, given))

        self.push_screen(Form(title, about, fields, self._view.glyphs), take)

    def _confirm(
        self, title: str, effect: str, word: str, work: Callable[[Home], Outcome | str]
    ) -> None:
        home = self._home
        if home is None:
            return

        def take(sure: bool | None) -> None:
            if sure:
                self._order(title, lambda: work(home))
            else:
                self.redraw(note=f"{title}: cancelled, nothing has changed")

        self.push_screen(Confirm(title, effect, word, self._view.glyphs), take)

    def _confirm_and_ask(
        self,
        title: str,
        effect: str,
        word: str,
        fields: Sequence[Field],
        work: Callable[[Home, dict[str, str]], Outcome | str],
    ) -> None:
        def take(sure: bool | None) -> None:
            if sure:
                self._ask(title, effect, fields, work)
            else:
                self.redraw(note=f"{title}: cancelled, nothing has changed")

        self.push_screen(Confirm(title, effect, word, self._view.glyphs), take)

    # This home.

    def action_create_site(self) -> None:
        if self.progress.roles:
            self.redraw(note=f"this home is already the site {self.progress.site}")
            return
        fields = (
            Field(name="name", label="name, e.g. halland"),
            Field(name="coordinator", label="coordinator? yes or no", value="no"),
            Field(
                name="names",
                label="dialled at (name or address)",
                needed=False,
            ),
            Field(name="port", label="port of the coordinator", value="8443"),
        )

        def work(home: Home, given: dict[str, str]) -> str:
            coordinates = given["coordinator"].lower() in _YES
            made = operations.create(
                home,
                given["name"],
                coordinator=coordinates,
                port=int(given["port"]) if given["port"].isdigit() else 0,
                names=tuple(given["names"].split()),
            )
            then = "press u to start it" if coordinates else "press 3, then c, to join a federation"
            return f"{made.name} is made; {then}"

        self._ask(
            "New site",
            "Keys are made here and never leave this host. A coordinator also says under which "
            "name or address, and at which port, sites dial it.",
            fields,
            work,
        )

    def action_start_processes(self) -> None:
        if (home := self._home) is not None:
            self._order(
                "Up", lambda: f"{' and '.join(operations.up(home))} run; they stay when you leave"
            )

    def action_stop_processes(self) -> None:
        name = self.progress.site
        effect = f"Stops every process of {name} on this host."
        if self._view.running:
            effect += (
                " The run under way waits for this site, or goes on without it, as its study says;"
                " nothing is lost, and it goes on when they are up again."
            )

        def work(home: Home) -> str:
            return "stopped" if operations.down(home) else "nothing was running"

        self._confirm("Down", effect, name, work)

    # Runs.

    def action_start_run(self) -> None:
        fields = (
            Field(name="study", label="study, its file"),
            Field(name="alone", label="train alone (site)", needed=False),
        )

        def work(home: Home, given: dict[str, str]) -> str:
            from fedtui import study

            agreed = study.load(Path(given["study"]).expanduser())
            return f"run {operations.run(home, agreed, alone=given['alone'])} is submitted"

        self._ask(
            "New run", "Every site checks the study again before it takes part.", fields, work
        )

    def action_pause_run(self) -> None:
        home, run = self._home, self.progress.run
        if home is None or run is None or run.over:
            self.redraw(note="no run is under way")
            return
        paused = run.state != "PAUSED"

        def work() -> str:
            id = operations.pause(home, run.run, paused=paused)
            return f"{id} holds between two exchanges; z again goes on" if paused else "it goes on"

        self._order("Pause" if paused else "Resume", work)

    def action_stop_run(self) -> None:
        run = self.progress.run
        if run is None or run.over:
            self.redraw(note="no run is under way")
            return
        effect = (
            f"Ends run {run.run} at round {run.round} of {run.rounds}, at every site, for good. "
            "Its last checkpoint and everything journaled stay."
        )
        self._confirm(
            "Stop run", effect, run.study, lambda home: f"{operations.stop(home, run.run)} ends"
        )

    # Exports.

    def action_export_run(self) -> None:
        run = self._exports.run(self._view)
        if run is None:
            self.redraw(note="there is no run to export yet")
            return
        fields = (Field(name="to", label="folder", value=f"./{run}"),)

        def work(home: Home, given: dict[str, str]) -> Outcome:
            to = Path(given["to"]).expanduser()
            files = operations.export_run(home, run, to)
            said = f"{len(files)} files in {to}; verify them with v"
            return Outcome(said=said, shown=tuple(str(path) for path in files))

        self._ask(f"Export {run}", "Nothing in it tells of a patient.", fields, work)

    def action_verify_export(self) -> None:
        fields = (Field(name="folder", label="folder of an export"),)

        def work(home: Home, given: dict[str, str]) -> Outcome:
            verdict = operations.verify_export(Path(given["folder"]).expanduser(), home)
            return Outcome(
                said=f"run {verdict.run} of {verdict.site} is as it was written",
                shown=(
                    f"{verdict.records} records were recomputed.",
                    f"{verdict.witnessed} heads of {verdict.site} that this site keeps are in it.",
                    f"{verdict.signed} heads of other sites in it carry a valid signature.",
                ),
            )

        self._ask("Verify", "Checksums, the chain, and heads that this site keeps.", fields, work)

    # Screens that show more than the journal.

    def _show_page(self, name: str) -> None:
        self._undecided = False
        self._frame.page = self._pages[name]
        self.redraw()
        self.read_desk()

    def read_desk(self, screen: str = "") -> None:
        """Read anew what a screen, by default the one in front, shows beside the journal.

        One reading at a time: an older one that ended later would hide what a newer one found.
        """
        home, screen = self._home, screen or self.page.name
        if home is None or screen not in desk.NEWS or not home.settings.exists():
            return
        if screen in self._desk_again:
            self._desk_again[screen] = True
            return
        self._desk_again[screen] = False
        self._desk_stamp = desk.stamp(home)
        desk.start(home, screen, lambda change: self._put(screen, change))

    def _put(self, screen: str, change: Callable[[Desk], Desk]) -> None:
        if self.is_running:
            self.post_message(Read(screen, change))

    def on_read(self, message: Read) -> None:
        """Something lies on the desk."""
        self.redraw(desk=message.change(self._view.desk))
        if self._desk_again.pop(message.screen, False):
            self.read_desk(message.screen)

    def tick(self) -> None:
        """Documents may have come since the news of them."""
        super().tick()
        if self._home is not None and desk.stamp(self._home) != self._desk_stamp:
            self.read_desk()

    def heard(self, records: list[Record]) -> None:
        """What the desk shows may have changed too."""
        kinds = desk.NEWS.get(self.page.name)
        if kinds and any(isinstance(record.event, kinds) for record in records):
            self.read_desk()

    def action_exports(self) -> None:
        self._show_page(actions.EXPORT)
