"""The dashboard where operators sit: over a thin SSH line, and inside tmux."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import story, thin
from tests.terminal import Terminal

RATE, DELAY = 9600 / 8, 0.1  # bytes a second; seconds each way
TMUX = shutil.which("tmux")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return story.home(tmp_path / "home", story.told(9))


def viewers(place: Path) -> list[psutil.Process]:
    """The viewers of this home, not the shells that name it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(place) in words and any(word.endswith("/fedtui") for word in words[:2]):
            found.append(process)
    return found


def command(place: Path) -> list[str]:
    return [
        "env", "LC_ALL=C.UTF-8", str(Path(sys.executable).with_name("fedtui")),
        "--home", str(place),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(bool(thin.MISSING), reason=thin.MISSING or "-")
def test_over_a_line_of_9600_bits_with_200_ms_keys_are_answered_and_a_lost_line_leaves_nothing(
    place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ssh"
    folder.mkdir()
    with thin.server(folder) as (port, ssh):
        line = thin.Line(port, rate=RATE, delay=DELAY)
        words = [*ssh[:-1], "-p", str(line.port), ssh[-1], shlex.join(command(place))]
        try:
            with Terminal(words) as terminal:
                terminal.until("quit", seconds=60)
                painted = line.carried
                terminal.settle(1.0, seconds=20)
                idle = line.carried
                terminal.read(6.0)
                quiet = line.carried - idle
                waits = []
                for key, seen in (("7", "LOG"), ("1", "OVER"), ("5", "ROUNDS"), ("j", ">s")):
                    terminal.settle(0.6, seconds=30)
                    began = time.monotonic()
                    terminal.press(key)
                    before = line.carried
                    terminal.until(lambda before=before: line.carried > before, seconds=20)
                    waits.append(time.monotonic() - began)
                    terminal.until(seen, seconds=30)
                assert viewers(place)
        finally:
            line.close()
        end = time.monotonic() + 20
        while viewers(place) and time.monotonic() < end:
            time.sleep(0.1)

        assert painted < 14_000  # the login's own key exchange is half of it
        assert quiet < 400  # ages move every 5 s during a run; ssh wraps each frame
        assert sorted(waits)[1] < 2.0, waits  # 0.55 s on an idle host: `bench_dashboard` measures
        assert not viewers(place)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    """A tmux server of this test's own."""
    assert TMUX is not None
    words = [TMUX, "-S", str(tmp_path / "t"), "-f", "/dev/null"]
    yield words
    subprocess.run([*words, "kill-server"], check=False, capture_output=True)


@pytest.mark.skipif(TMUX is None, reason="no tmux here")
def test_inside_tmux_it_is_drawn_detached_resized_and_left(place: Path, tmux: list[str]) -> None:
    def captured() -> str:
        words = [*tmux, "capture-pane", "-p", "-t", "fed"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def until(shown: str) -> str:
        end = time.monotonic() + 30
        while shown not in (text := captured()):
            assert time.monotonic() < end, f"never came: {shown}\n{text}"
            time.sleep(0.1)
        return text

    start = ["new-session", "-d", "-s", "fed", "-x", "80", "-y", "24", shlex.join(command(place))]
    subprocess.run([*tmux, *start], check=True)
    small = until("5ROUNDS")
    subprocess.run([*tmux, "send-keys", "-t", "fed", "7"], check=True)
    until("7LOG")
    subprocess.run([*tmux, "resize-window", "-t", "fed", "-x", "160", "-y", "50"], check=True)
    large = until("7 LOGS")
    subprocess.run([*tmux, "send-keys", "-t", "fed", "q"], check=True)
    end = time.monotonic() + 30
    while viewers(place) and time.monotonic() < end:
        time.sleep(0.1)

    assert "Round 9/10" in small
    assert max(map(len, small.splitlines())) <= 80
    assert len(large.splitlines()) >= 49
    assert not viewers(place)
