"""One frozen look at everything a screen may draw from; panels are functions of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedtui import events
from fedtui.progress import Progress, SiteFinding
from fedtui.record import Record
from fedtui.tui import actions, text, words
from fedtui.tui.actions import Action
from fedtui.tui.chart import Raster
from fedtui.tui.checking import Checkup
from fedtui.tui.desk import Desk
from fedtui.tui.host import Host
from fedtui.tui.text import Glyphs

if TYPE_CHECKING:
    from fedtui.report.comparison import Comparison

_DAY_SECONDS = 86_400.0
STALE_SECONDS = 30.0  # a trainer reports twice a second, the coordinator at every answer


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known now, and how it is to be shown.

    Attributes:
        records: The last records of the journal, oldest first.
        now: The source's clock; ages are measured from it.
        host: None when an exported log is replayed: it tells nothing of this host.
        desk: What screens show beside the journal, as it was read last.
        checkup: What this home's checks found; None where there is no home to check.
        chosen: Which site the cursor of Rounds is on.
        zoomed: Whether charts show that site and the joint model only.
        charted: Which chart comes first; a screen counts on from its last one.
        log: Whether charts have a logarithmic scale.
        reading: Whether the journal's beginning is still being read.
        problem: Why no more records come, if none do.
    """

    progress: Progress
    records: Sequence[Record] = ()
    now: float = 0.0
    host: Host | None = None
    desk: Desk = field(default_factory=Desk)
    checkup: Checkup | None = None
    live: bool = True
    paused: bool = False
    readonly: bool = False
    reading: bool = False
    problem: str = ""
    note: str = ""
    glyphs: Glyphs = text.UNICODE
    raster: Raster = "blocks"
    chosen: int = 0
    zoomed: bool = False
    charted: int = 0
    log: bool = False

    @property
    def orders(self) -> bool:
        """Whether orders are taken here: not of a log, nor of one who only looks."""
        return self.checkup is not None and not self.readonly

    @property
    def conditions(self) -> frozenset[str]:
        """What is so now, in the words of ``Action.when``."""
        needed = [p for p, on in (("coordinator", self.coordinates), ("agent", self.trains)) if on]
        running = [p for p in needed if self.up(p)]
        found = {
            "unmade": not self.progress.roles,
            "down": len(running) < len(needed),
            "up": bool(running),
            "unjoined": not self.coordinates and not self.progress.address,
            "coordinates": self.coordinates,
            "running": self.running,
            "idle": not self.running,
            "studies": bool(self.desk.studies),
        }
        return frozenset(name for name, so in found.items() if so)

    def valid(self, screen: str) -> tuple[Action, ...]:
        """What can be done on a screen; a replayed log takes no orders, nor does a viewer."""
        return actions.valid(screen, home=self.checkup is not None, orders=self.orders)

    @property
    def compared(self) -> "Comparison | None":
        """What the last validated run came to: as read, or of a log what its records tell."""
        if self.checkup is not None:
            return self.desk.comparison
        told = [r.event for r in self.records]
        runs = [e.run for e in told if isinstance(e, events.ValidationStarted)]
        if not runs:
            return None
        from fedtui.report.comparison import compare

        return compare(runs[-1], told)

    @property
    def coordinates(self) -> bool:
        """Whether this home runs the coordinator."""
        return "coordinator" in self.progress.roles

    @property
    def trains(self) -> bool:
        """Whether this home has an agent and a trainer."""
        return "site" in self.progress.roles

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self.progress.run is not None and not self.progress.run.over

    def up(self, process: str) -> bool:
        """Whether a process of the home lives: by the host, else by the journal."""
        known = self.host.alive if self.host else self.progress.processes
        return process in known

    @property
    def sent(self) -> int | None:
        """Bytes that have left this site in the run shown; None where the records cannot tell."""
        left = self.progress.run.left if self.progress.run else {}
        if not left and not self.progress.roles and not self.live:
            return None
        return sum(size for _, size in left.values())

    @property
    def stale(self) -> bool:
        """Whether a run is under way and nothing has been heard for long."""
        return self.running and not self.reading and self.now - self.progress.time > STALE_SECONDS

    @property
    def news(self) -> str:
        """When the last record was written: an age during a run, else the time of day."""
        if self.reading:
            return f"reading {words.count(self.progress.seq)}"
        if not self.progress.seq:
            return "no news yet"
        if self.running:
            ago = words.age(self.now - self.progress.time)
            return "news now" if ago == "now" else f"news {ago} ago"
        return f"news {words.clock(self.progress.time)}"

    def when(self, time: float) -> str:
        """How long ago during a run; else the time of day, which a quiet screen need not redraw."""
        seconds = self.now - time
        if not self.running and seconds < _DAY_SECONDS:
            return words.clock(time)
        ago = words.age(seconds)
        return ago if ago == "now" else f"{ago} ago"

    @property
    def link(self) -> tuple[str, str]:
        """The link as a word, and its role."""
        progress = self.progress
        if not progress.roles:
            return "--", "dim"
        if not self.trains:
            here = sum(progress.sites.values())
            return f"{here} of {len(progress.sites)} sites", "ok" if here else "wait"
        if not self.up("agent"):
            return "OFF", "wait"
        return {None: ("WAIT", "wait"), True: ("UP", "ok"), False: ("DOWN", "fail")}[progress.link]

    @property
    def phase(self) -> str:
        """What the federation does, in one word."""
        run = self.progress.run
        if run is None:
            return "READY" if self.progress.link else "CONNECT"
        if run.over or run.state == "PAUSED":
            return run.state
        return run.phase.upper()


def alarm(view: View) -> tuple[str, str, str]:
    """What needs attention most: prefix OK, WAIT, WARN or FAIL, its role, and a sentence."""
    progress, run = view.progress, view.progress.run
    if view.problem:
        return "FAIL", "fail", view.problem
    if view.live and progress.roles and view.trains and not view.up("agent"):
        then = "; the run then goes on" if view.running else ""
        return "WAIT", "wait", f"this site's agent is not running: fedtui up{then}"
    if view.trains and progress.link is False:
        return "FAIL", "fail", f"the link to the coordinator is down: {progress.link_cause}"
    if run is not None and not run.over:
        held = words.waiting(run, view.now)
        if held:
            names = ", ".join(held)
            lasting = words.lasting(view.now - run.asked)
            silent = [n for n in held if not run.sites[n].here]
            why = "silent" if silent else "still working"
            return "WAIT", "wait", f"waiting for {names}, {lasting} ({why}); the run goes on then"
        if run.state == "PAUSED":
            return "WAIT", "wait", f"run {run.run} is paused by order; resume it to go on"
    if run is not None and run.state == "FAILED":
        return "FAIL", "fail", f"run {run.run} failed: {run.cause}"
    record = next((r for r in reversed(progress.alarms) if not resolved(view, r)), None)
    if record is not None:
        if isinstance(record.event, events.LinkChecked):
            _, sentence = links(view)
            return "FAIL", "fail", sentence
        prefix = "FAIL" if record.event.level == "ERROR" else "WARN"
        return prefix, prefix.lower(), f"{words.clock(record.time)} {record.event.sentence}"
    return "OK", "ok", _fine(view)


def resolved(view: View, record: Record) -> bool:
    """Whether later news took an alarm back, or it belongs to a run that is no longer shown."""
    progress, run = view.progress, view.progress.run
    match record.event:
        case events.LinkChanged():
            return bool(progress.link)
        case events.LinkChecked(site=site, unwell=told):
            now = progress.findings.get(site, {})
            return not any(now[check].state == "FAIL" for check in told if check in now)
        case events.SiteSeen(site=site):
            return progress.sites.get(site, False)
        case events.ProcessEnded(process=process):
            return process in progress.processes
        case events.SitesAwaited(run=about):
            return run is None or run.run != about or run.over or not words.waiting(run, view.now)
        case events.RequestRefused():
            return run is not None and record.time < run.submitted
    return run is None or getattr(record.event, "run", None) != run.run


def unwell(found: dict[str, SiteFinding]) -> dict[str, SiteFinding]:
    """Of a site's findings those that are not well, failures first."""
    bad = {check: f for check, f in found.items() if f.words or f.state in ("WARN", "FAIL")}
    return dict(sorted(bad.items(), key=lambda pair: pair[1].state != "FAIL"))


def links(view: View) -> tuple[str, str]:
    """The worst state of any site's last checks, and which site's they are; '' when all are well.

    A site that fails is named before one with warnings.
    """
    bad = [
        (site, check, finding)
        for site, found in view.progress.findings.items()
        for check, finding in unwell(found).items()
    ]
    if not bad:
        return "", ""
    bad.sort(key=lambda one: one[2].state != "FAIL")
    site, check, finding = bad[0]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    told = f"{site}: {check} {finding.state} {finding.code}, {view.when(finding.since)}"
    return finding.state, f"{told}{more}; press 2"


def _fine(view: View) -> str:
    run = view.progress.run
    if run is None:
        return "no alarms"
    if run.over:
        return f"run {run.run} {run.state.lower()}: {run.cause}"
    left = words.remaining(run)
    told = f"round {run.round} of {run.rounds}, {run.phase}: every asked site is heard"
    return f"{told}; {left}" if left else told
