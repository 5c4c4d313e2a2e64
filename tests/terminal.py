"""A terminal for tests: a real pty, read into pyte, that answers queries as xterm would."""

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

ROOT = Path(__file__).parent.parent
_BASE = {"PATH": os.environ["PATH"], "HOME": "/tmp", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
_MODE = re.compile(rb"\x1b\[\?(\d+)\$p")
_DEVICE = re.compile(rb"\x1b\[0?c")
_CURSOR = re.compile(rb"\x1b\[6n")
# What pyte would print: the keyboard protocol's sequences are younger than it is.
_UNKNOWN_TO_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*u")


class _Process:
    """A child whose controlling terminal is a new pty.

    Started without a fork in Python: other tests have JAX's threads in this very process.
    """

    def __init__(
        self, command: list[str], *, columns: int, rows: int, environment: dict[str, str], cwd: Path
    ) -> None:
        self.fd, inside = os.openpty()
        self.closed = False
        self.setwinsize(rows, columns)
        # A session's leader that opens a terminal gets it as its own.
        self._child = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" 0<>"$0" 1>&0 2>&0', os.ttyname(inside), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
            cwd=cwd,
        )
        self.pid = self._child.pid
        self._inside = inside  # open until the child has it: a pty that nobody holds hangs up

    def setwinsize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def adopted(self) -> None:
        """The child has shown something: only it holds its side from here on."""
        if self._inside >= 0:
            os.close(self._inside)
            self._inside = -1

    def close(self) -> None:
        if not self.closed:
            self.adopted()
            os.close(self.fd)
            self.closed = True

    def isalive(self) -> bool:
        return self._child.poll() is None

    @property
    def exitstatus(self) -> int | None:
        code = self._child.poll()
        return code if code is not None and code >= 0 else None

    @property
    def signalstatus(self) -> int | None:
        code = self._child.poll()
        return -code if code is not None and code < 0 else None

    def kill(self, number: int) -> None:
        self._child.send_signal(number)

    def wait(self) -> int:
        return self._child.wait()


class Terminal:
    """A program in a terminal of ``columns`` x ``rows``; leaving the block kills what is left.

    Args:
        utf8: Whether the terminal decodes UTF-8; one that does not takes each byte for a letter.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
        utf8: bool = True,
        cwd: Path = ROOT,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        if not utf8:
            self._stream.select_other_charset("@")
        self.bytes = b""
        self.started = time.monotonic()
        self.process = _Process(
            list(command),
            columns=columns,
            rows=rows,
            environment={**_BASE, "PYTHONPATH": str(ROOT), **(environment or {})},
            cwd=cwd,
        )
        self._open = True

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.process.isalive():
            self.process.kill(9)
        self.process.wait()

    @property
    def text(self) -> str:
        """What the terminal shows."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def cells(self) -> list[list[tuple[object, ...]]]:
        """Every cell with the attributes that are seen."""
        return [
            [
                (c.data, c.fg, c.bg, c.bold, c.underscore, c.reverse)
                for c in (self.screen.buffer[y][x] for x in range(self.screen.columns))
            ]
            for y in range(self.screen.lines)
        ]

    def read(self, seconds: float) -> bytes:
        """Take in what arrives within ``seconds``, or until the program closes the terminal."""
        until = time.monotonic() + seconds
        got = b""
        while self._open and (left := until - time.monotonic()) > 0:
            if not select.select([self.process.fd], [], [], left)[0]:
                break
            try:
                data = os.read(self.process.fd, 65536)
            except OSError:  # the other side is closed
                data = b""
            if not data:
                self._open = False
                break
            self.process.adopted()
            got += data
            self._stream.feed(_UNKNOWN_TO_PYTE.sub(b"", data))
            self._answer(data)
        self.bytes += got
        return got

    def _answer(self, data: bytes) -> None:
        for match in _MODE.finditer(data):
            os.write(self.process.fd, b"\x1b[?%b;0$y" % match[1])  # xterm knows none of them
        for _ in _DEVICE.finditer(data):
            os.write(self.process.fd, b"\x1b[?64;1;2;6;22c")
        cursor = self.screen.cursor
        for _ in _CURSOR.finditer(data):
            os.write(self.process.fd, b"\x1b[%d;%dR" % (cursor.y + 1, cursor.x + 1))

    def until(self, shown: str | Callable[[], bool], seconds: float = 10.0) -> None:
        """Read until the screen shows a text, or a condition holds."""
        holds = shown if callable(shown) else lambda: shown in self.text
        end = time.monotonic() + seconds
        while not holds():
            left = end - time.monotonic()
            assert left > 0, f"never came: {shown}\n{self.text}"
            assert self._open, f"the program closed its terminal\n{self.text}"
            self.read(min(0.05, left))

    def settle(self, quiet: float = 0.4, seconds: float = 10.0) -> None:
        """Read until nothing has come for ``quiet`` seconds."""
        end = time.monotonic() + seconds
        while self.read(quiet):
            assert time.monotonic() < end, "the program never stops writing"

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.process.fd, keys.encode())

    def press_and_see(self, keys: str) -> None:
        """Type, wait for what comes of it, and until that is all."""
        self.press(keys)
        select.select([self.process.fd], [], [], 0.5)
        self.settle(0.1)

    def close(self) -> None:
        """Hang up: the program's terminal is gone."""
        self.process.close()
        self._open = False

    def ended(self, seconds: float) -> int | None:
        """The exit code, or minus the signal, if the program ends within ``seconds``."""
        end = time.monotonic() + seconds
        while self.process.isalive():
            if time.monotonic() > end:
                return None
            if self._open:
                self.read(0.02)
            else:
                time.sleep(0.02)
        code, number = self.process.exitstatus, self.process.signalstatus
        return code if number is None else -number


def python(program: str, *arguments: str) -> list[str]:
    """The command that runs ``program`` in this interpreter."""
    return [sys.executable, "-P", "-c", program, *arguments]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def worked(pid: int) -> float:
    """Seconds that a process's threads have run on a processor."""
    spent = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            spent += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return spent / 1e9
