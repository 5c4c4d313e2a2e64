"""Whether this terminal can show the dashboard."""

import locale
import os
import sys
from collections.abc import Iterator

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_COLUMNS, _LINES = 80, 24
_LIMIT = f"{_COLUMNS} x {_LINES}, UTF-8, cursor movement (fedtui's screens)"


def check(_: Inquiry) -> Iterator[Finding]:
    """Size, encoding and kind of the terminal on stdout or stderr."""
    # The last for the dashboard, which takes the other two away.
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        try:
            size = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]
        except (OSError, ValueError, AttributeError):  # a file, a pipe, or captured
            continue
        yield judge(size.columns, size.lines, os.environ.get("TERM", ""), _encoding())
        return
    yield Finding(
        state=State.SKIP,
        code="no-terminal",
        meaning="Not measured: output goes to a file or a pipe.",
    )


def judge(columns: int, lines: int, term: str, encoding: str) -> Finding:
    """The finding for a terminal of that size, TERM and character encoding."""
    measured = f"{columns} x {lines}, {term or 'no TERM'}, {encoding}"
    if term in ("", "dumb"):
        code, meaning = "terminal-dumb", "This terminal cannot move its cursor."
        remedy = "Use 'fedtui watch --plain', or set TERM (xterm-256color)."
    elif encoding.lower().replace("-", "") not in ("utf8",):
        code, meaning = "terminal-encoding", f"Characters are {encoding} here, not UTF-8."
        remedy = "export LC_ALL=C.UTF-8"
    elif columns < _COLUMNS or lines < _LINES:
        code, meaning = "terminal-small", "The screens need more room than this window has."
        remedy = f"Enlarge the window to {_COLUMNS} x {_LINES}."
    else:
        return Finding(
            state=State.OK,
            code="terminal-ok",
            measured=measured,
            threshold=_LIMIT,
            meaning="This terminal can show the dashboard.",
        )
    return Finding(
        state=State.WARN,
        code=code,
        measured=measured,
        threshold=_LIMIT,
        meaning=meaning,
        remedy=remedy,
    )


def _encoding() -> str:
    return locale.getpreferredencoding(False)
