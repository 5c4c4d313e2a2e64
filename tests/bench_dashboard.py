"""Bytes, processor time and memory of the dashboard: ``python -m tests.bench_dashboard``.

Bytes are exact. Times are given as ratios to an empty Textual app in the same run, since a busy
machine stretches them. As over SSH: at most two repaints a second, ten frames.
"""

import os
import select
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from fedtui import events
from fedtui.journal import Journal
from fedtui.progress import fold
from fedtui.tui.screens.exports import Exports
from fedtui.tui.screens.joining import Joining
from fedtui.tui.screens.overview import Overview
from fedtui.tui.screens.rounds import Rounds
from fedtui.tui.view import View
from tests import story, thin
from tests.terminal import Terminal, python, resident, worked
from tests.test_tui_links import DELAY, RATE
from tests.test_tui_links import command as fedtui
from tests.test_tui_terminal import EMPTY, VIEWER

OVER_SSH = {"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22"}
SIZES = ((80, 24), (120, 40), (160, 50))
_SECONDS = 10.0  # of each measurement of a rate


def home(*, over: bool) -> Path:
    told = story.told(9 if over else 3)
    path = Path(tempfile.mkdtemp(prefix="fedtui-bench-")) / "home"
    return story.home(path, [*told, (60.0, story.end())] if over else told)


def start(columns: int, rows: int, times: int = 5) -> None:
    """First paint, its bytes, memory, and an idle window longer than the slowest clock."""
    place = home(over=True)
    wall: dict[str, list[float]] = {"empty": [], "dashboard": []}
    work: dict[str, list[float]] = {"empty": [], "dashboard": []}
    sent = memory = idle = 0
    for turn in range(times):
        for name, command, shown in (
            ("empty", python(EMPTY), "floor"),
            ("dashboard", python(VIEWER, str(place)), "quit"),
        ):
            with Terminal(command, columns=columns, rows=rows) as terminal:
                terminal.until(shown)
                wall[name].append(time.monotonic() - terminal.started)
                work[name].append(worked(terminal.process.pid))
                if name == "dashboard" and turn == 0:
                    terminal.settle()
                    sent, memory = len(terminal.bytes), resident(terminal.process.pid)
                    idle = len(terminal.read(_SECONDS))
    print(
        f"{columns}x{rows} start: {sent} B, wall {median(wall['dashboard']):.2f} s = "
        f"{min(wall['dashboard']) / min(wall['empty']):.2f} x empty, processor "
        f"{min(work['dashboard']) / min(work['empty']):.2f} x empty, {memory / 1e6:.0f} MB, "
        f"idle {idle} B in {_SECONDS:.0f} s"
    )


def rate(what: str, write: Callable[[Journal, int], object], hertz: float, mode: str) -> None:
    """Bytes a second while a run writes ``hertz`` times a second."""
    place = home(over=False)
    with Terminal(python(VIEWER, str(place), mode), environment=OVER_SSH) as terminal:
        terminal.until("quit")
        book = Journal(place / "journal.db", source="coordinator")
        book.append(events.PhaseStarted(run=story.RUN, round=4, phase="train", sites=story.SITES))
        terminal.settle()
        sent, spent, began = len(terminal.bytes), worked(terminal.process.pid), time.monotonic()
        for number in range(int(_SECONDS * hertz)):
            write(book, number)
            terminal.read(1 / hertz)
        seconds = time.monotonic() - began
        book.close()
        bytes_ = (len(terminal.bytes) - sent) / seconds
        busy = 100 * (worked(terminal.process.pid) - spent) / seconds
    print(f"80x24 {what}, {hertz:g} a second, {mode}: {bytes_:.0f} B/s, processor {busy:.1f} %")


def keys(pressed: str, times: int = 20) -> None:
    """From a key to the first byte, and the bytes it costs."""
    with Terminal(python(VIEWER, str(home(over=True)))) as terminal:
        terminal.until("quit")
        terminal.settle()
        waits, sizes = [], []
        for turn in range(times):
            before, began = len(terminal.bytes), time.monotonic()
            terminal.press(pressed[turn % len(pressed)])
            select.select([terminal.process.fd], [], [], 1.0)
            waits.append(1000 * (time.monotonic() - began))
            terminal.settle(0.1)
            sizes.append(len(terminal.bytes) - before)
        waits.sort()
    print(
        f"80x24 keys {pressed}: p50 {waits[times // 2]:.1f} ms, p95 {waits[times * 19 // 20]:.1f} "
        f"ms, {max(sizes)} B at most"
    )


def step(book: Journal, number: int) -> None:
    book.append(story.progressed(4, "halland", number % 18))


def whole_round(book: Journal, number: int) -> None:
    book.append_all([(event, 0) for _, event in story.round_(4 + number, 0.0)])


def frames() -> None:
    """Processor time of the dearest frame of a long run of many sites."""
    records = story.records([(float(n), event) for n, event in enumerate(story.large())])
    view = View(progress=fold(records), records=records[-5_000:], now=records[-1].time)
    worst = 0.0
    for page in (Overview(), Rounds(), Joining(), Exports()):
        for charted in range(4):
            began = time.process_time()
            page.draw(replace(view, charted=charted, chosen=25), 250, 77)
            worst = max(worst, time.process_time() - began)
    print(f"250x80, 50 sites, 10000 rounds: at most {1000 * worst:.0f} ms of processor a frame")


def echo(times: int = 8) -> None:
    """From a key to its first byte over sshd, 9.6 kbit/s and 200 ms there and back."""
    place = home(over=True)
    with tempfile.TemporaryDirectory() as name, thin.server(Path(name)) as (port, ssh):
        line = thin.Line(port, rate=RATE, delay=DELAY)
        words = [*ssh[:-1], "-p", str(line.port), ssh[-1], shlex.join(fedtui(place))]
        with Terminal(words) as terminal:
            terminal.until("quit", seconds=60)
            waits = []
            for turn in range(times):
                terminal.settle(1.0, seconds=30)
                began = time.monotonic()
                terminal.press("jk"[turn % 2])
                select.select([terminal.process.fd], [], [], 10.0)
                waits.append(1000 * (time.monotonic() - began))
        line.close()
    print(f"9.6 kbit/s, 200 ms: key echo p50 {median(waits):.0f} ms, {max(waits):.0f} ms at most")


if __name__ == "__main__":
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for columns, rows in SIZES:
        start(columns, rows)
    for mode in ("diff", "plain"):
        rate("table", step, 1, mode)
        rate("table and chart", whole_round, 1, mode)
        rate("table", step, 10, mode)
    for pressed in ("jk", "15", "m"):
        keys(pressed)
    frames()
    if not thin.MISSING:
        echo()
