"""The dashboard in a real terminal: bytes, colours, signals, and what is left when it is gone."""

import math
import os
import re
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedtui import events
from fedtui.journal import Journal
from tests import story
from tests.terminal import Terminal, python, resident, worked

VIEWER = """
import sys
from pathlib import Path
from fedtui.errors import OperatorError
from fedtui.site import Home
from fedtui.tui import app
plain, ascii = "plain" in sys.argv, True if "ascii" in sys.argv else None
if "still" in sys.argv:  # other tests fill and empty the disk, whose room is shown
    import shutil
    room = shutil.disk_usage("/")
    shutil.disk_usage = lambda _: room
try:
    sys.exit(app.run(Home(Path(sys.argv[1])), diff=not plain, ascii=ascii))
except OperatorError as error:
    print(error, error.remedy)
    sys.exit(error.exit_code)
"""
EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("floor")
Empty().run(mouse=False)
"""
ALTERNATE, CURSOR_BACK = b"\x1b[?1049h", (b"\x1b[?1049l", b"\x1b[?25h")
MOUSE = (b"\x1b[?1000h", b"\x1b[?1003h")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A home with a finished run: nothing in it changes any more."""
    return story.home(tmp_path / "home", [*story.told(9), (60.0, story.end())])


@contextmanager
def viewing(place: Path, *words: str, **options: object) -> Iterator[Terminal]:
    with Terminal(python(VIEWER, str(place), *words), **options) as terminal:  # type: ignore[arg-type]
        terminal.until("quit")
        terminal.settle(0.25)
        yield terminal


@pytest.mark.parametrize(
    ("columns", "rows", "most"), [(80, 24, 5_000), (120, 40, 11_000), (160, 50, 16_000)]
)
def test_the_first_screen_is_few_bytes(place: Path, columns: int, rows: int, most: int) -> None:
    with viewing(place, columns=columns, rows=rows) as terminal:
        assert len(terminal.bytes) <= most
        assert not any(mode in terminal.bytes for mode in MOUSE)


def test_nothing_is_sent_while_nothing_changes(place: Path) -> None:
    with viewing(place, "still") as terminal:
        assert terminal.read(6.0) == b""  # longer than the 5 s clock


def test_the_viewer_paints_soon_and_holds_little_memory(place: Path) -> None:
    def painted(command: list[str], shown: str) -> tuple[float, int]:
        with Terminal(command) as terminal:
            terminal.until(shown)
            return worked(terminal.process.pid), resident(terminal.process.pid)

    # The least of processor time: other load only adds, to the clock on the wall most, and the
    # more tries the less of it is left.
    empty = ours = math.inf
    sizes: list[int] = []
    while len(sizes) < 3 or (ours / empty > 1.7 and len(sizes) < 20):
        empty = min(empty, painted(python(EMPTY), "floor")[0])
        seconds, size = painted(python(VIEWER, str(place)), "quit")
        ours = min(ours, seconds)
        sizes.append(size)

    assert ours / empty <= 1.7
    assert statistics.median(sizes) <= 45e6


@pytest.mark.slow
def test_changed_cells_and_textuals_own_stream_show_the_same(place: Path) -> None:
    walk = [
        *"1234568", *"7lf", "\x1b[5~", "/", *"end", "\r", *"5mljb", "\r", "A", "?", "\x1b[6~", "g",
        "\x1b", "\x1b", ":", "p", "\x1b", "A", "3", "i", "h", "\x1b", "1", "X", "n", "\x1b", "8",
        "e", "\x1b", "2", "/", "f", "\r",
    ]  # fmt: skip
    shown: dict[str, list[object]] = {"diff": [], "plain": []}
    for mode, seen in shown.items():
        with viewing(place, mode) as terminal:
            for key in walk:
                terminal.press_and_see(key)
                terminal.until(lambda: "Being read." not in terminal.text)
                seen.append((key, terminal.text, terminal.cells))

    assert shown["diff"] == shown["plain"]


def test_a_key_costs_few_bytes(place: Path) -> None:
    with viewing(place) as terminal:
        terminal.press_and_see("j")
        before = len(terminal.bytes)
        terminal.press_and_see("k")

        assert 0 < len(terminal.bytes) - before <= 300


def test_a_run_at_ten_events_a_second_stays_thin(tmp_path: Path) -> None:
    home = story.home(tmp_path / "home", story.told(3))
    phase = events.PhaseStarted(run=story.RUN, round=4, phase="train", sites=story.SITES)
    over_ssh = {"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22"}
    with viewing(home, environment=over_ssh) as terminal:
        book = Journal(home / "journal.db", source="coordinator")
        book.append(phase)
        before, began = len(terminal.bytes), time.monotonic()
        for step in range(25):
            book.append(story.progressed(4, "halland", step % 18))
            terminal.read(0.1)
        book.close()
        seconds = time.monotonic() - began

        assert (len(terminal.bytes) - before) / seconds <= 2_000
        terminal.until("6/18")  # the last of them, none dropped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_viewer_and_restores_the_terminal(
    place: Path, number: signal.Signals, code: int
) -> None:
    with viewing(place) as terminal:
        assert ALTERNATE in terminal.bytes
        os.kill(terminal.process.pid, number)

        assert terminal.ended(15) == code
        assert all(mode in terminal.bytes for mode in CURSOR_BACK)


@pytest.mark.parametrize("trap", ["", "trap '' HUP; "])
def test_a_closed_terminal_ends_the_viewer_even_when_hangups_are_ignored(
    place: Path, trap: str
) -> None:
    command = ["sh", "-c", trap + 'exec "$@"', "sh", *python(VIEWER, str(place))]
    with Terminal(command) as terminal:
        terminal.until("quit")
        terminal.settle()
        terminal.close()

        assert terminal.ended(15) == 129


def test_a_terminal_that_stops_reading_cannot_hold_the_viewer(tmp_path: Path) -> None:
    home = story.home(tmp_path / "home", story.told(3))
    with viewing(home, columns=160, rows=50) as terminal:
        for key in "157" * 40:  # a few hundred kB, which nobody reads
            terminal.press(key)
            time.sleep(0.01)
        os.kill(terminal.process.pid, signal.SIGTERM)
        began = time.monotonic()
        while terminal.process.isalive() and time.monotonic() - began < 3:
            time.sleep(0.02)

        assert time.monotonic() - began <= 1.5
        assert terminal.process.exitstatus == 143


def test_while_a_terminal_stops_reading_frames_are_dropped_and_no_event_is(tmp_path: Path) -> None:
    home = story.home(tmp_path / "home", story.told(3))
    with viewing(home, columns=160, rows=50) as terminal:
        for key in "157" * 40:  # more than the pty and the writer's queue hold
            terminal.press(key)
            time.sleep(0.01)
        book = Journal(home / "journal.db", source="coordinator")
        for number in range(4, 10):
            book.append_all([(event, 0) for _, event in story.round_(number, 0.0)])
            time.sleep(0.1)
        book.close()
        before = len(terminal.bytes)
        terminal.press("5")
        terminal.until("Round 9/10", seconds=30.0)
        terminal.settle()

        assert len(terminal.bytes) - before < 120 * 5_000  # what all those screens would take


def test_leaving_says_nothing_when_nothing_runs_and_restores_the_terminal(place: Path) -> None:
    with viewing(place) as terminal:
        terminal.press("q")

        assert terminal.ended(15) == 0
        assert all(mode in terminal.bytes for mode in CURSOR_BACK)
        assert (
            b"training continues."
            not in terminal.bytes.split(ALTERNATE)[-1].split(CURSOR_BACK[0])[-1]
        )


def test_a_terminal_without_a_cursor_is_refused_with_the_command_that_needs_none(
    place: Path,
) -> None:
    with Terminal(python(VIEWER, str(place)), environment={"TERM": "dumb"}) as terminal:
        assert terminal.ended(10.0) == 2
        terminal.read(0.2)

        assert "fedtui watch --plain" in terminal.text.replace("\n", " ")
        assert ALTERNATE not in terminal.bytes


def test_no_color_sends_no_colour(place: Path) -> None:
    with viewing(place, environment={"NO_COLOR": "1"}) as terminal:
        for key in [*"1234678", *"5mj\r", "1", "X", "\x1b", "3", "i", "\x1b", "?"]:
            terminal.press_and_see(key)

        used = {code for codes in sgr(terminal.bytes) for code in codes}
        assert used <= {"", "0", "1", "2", "4", "7"}  # none of 30-49, 90-107


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_a_terminal_without_utf8_gets_ascii_only(place: Path, environment: dict[str, str]) -> None:
    with viewing(place, environment=environment) as terminal:
        for key in [*"123456", "8", "e", "\x1b", "3", "i", "\x1b", "1", "X", "\x1b", "7", "?", "g"]:
            terminal.press_and_see(key)

        assert terminal.bytes.isascii()
        assert b"\\u25" not in terminal.bytes


def test_where_the_locale_says_nothing_the_terminal_is_asked(place: Path) -> None:
    silent = {"LC_ALL": "", "LANG": ""}
    with viewing(place, environment=silent) as terminal:
        assert "\u2502" in terminal.text
    with viewing(place, environment=silent, utf8=False) as terminal:
        assert terminal.bytes.split(ALTERNATE)[-1].isascii()


def test_another_size_and_a_repaint_show_the_same_as_a_fresh_start(place: Path) -> None:
    with viewing(place, columns=120, rows=36) as fresh:
        wanted = fresh.text
    with viewing(place) as terminal:
        terminal.screen.resize(36, 120)
        terminal.process.setwinsize(36, 120)
        terminal.until(lambda: terminal.text == wanted)
        terminal.screen.reset()
        terminal.press("\x0c")

        terminal.until(lambda: terminal.text == wanted)


def test_the_harness_itself_reads_and_answers() -> None:
    program = "import sys; sys.stdout.write('\\x1b[6n'); print(sys.stdin.readline())"
    with Terminal([sys.executable, "-c", program]) as terminal:
        terminal.read(0.5)
        terminal.press("\n")

        assert terminal.ended(15) == 0


def test_a_suspended_viewer_draws_everything_when_it_comes_back(place: Path) -> None:
    with viewing(place) as terminal:
        wanted = terminal.text
        os.kill(terminal.process.pid, signal.SIGTSTP)
        terminal.read(1.0)
        assert CURSOR_BACK[0] in terminal.bytes
        terminal.screen.reset()
        os.kill(terminal.process.pid, signal.SIGCONT)

        terminal.until(lambda: terminal.text == wanted)


def sgr(data: bytes) -> list[list[str]]:
    """The parameters of every sequence that sets colours or attributes."""
    return [m[1].decode().split(";") for m in re.finditer(rb"\x1b\[([0-9;]*)m", data)]
