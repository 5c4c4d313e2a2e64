"""What is decided about the terminal before Textual starts, and how it is given back."""

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, MutableMapping

from fedtui.errors import UsageError

_RESTORE = (  # colours, mouse, paste, focus, wrapping, keyboard, screen and cursor as they were
    b"\x1b[0m\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?7h\x1b[<u"
    b"\x1b[?1049l\x1b[?25h"
)
_GRACE_SECONDS = 0.7  # for Textual's own way out; then the process ends anyway
_PROBE_SECONDS = 0.6  # a reply takes one round trip; 200 ms is a slow line
_FPS_OVER_SSH = "10"


def prepare(environment: MutableMapping[str, str]) -> None:
    """Textual's settings: the terminal's own colours, nothing moves, few frames over SSH."""
    environment["TEXTUAL_THEME"] = "ansi-dark"
    environment["TEXTUAL_ANIMATIONS"] = "none"
    environment["TEXTUAL_SMOOTH_SCROLL"] = "0"
    if over_ssh(environment):
        environment.setdefault("TEXTUAL_FPS", _FPS_OVER_SSH)


def over_ssh(environment: MutableMapping[str, str]) -> bool:
    """Whether the operator sits at the other end of a line."""
    return "SSH_CONNECTION" in environment


def require() -> None:
    """Refuse what is no terminal, or one without cursor movement.

    Raises:
        UsageError: naming the command that needs none.
    """
    if os.environ.get("TERM", "dumb") in ("dumb", ""):
        what = "This terminal cannot move its cursor (TERM=dumb)"
    elif not (sys.__stdin__ and sys.__stdin__.isatty() and os.isatty(sys.__stderr__.fileno())):  # type: ignore[union-attr]
        what = "The dashboard needs a terminal, and there is none here"
    else:
        return
    raise UsageError(
        f"{what}.",
        remedy="Use 'fedtui watch --plain', one sentence an event, or 'fedtui status --json'.",
    )


def wants_ascii() -> bool:
    """Whether to draw with ASCII: by the locale, and where it says nothing by asking the terminal.

    Python turns a C locale into C.UTF-8 (PEP 538), whatever the terminal is.
    """
    encoding = (sys.__stderr__.encoding or "ascii").lower().replace("-", "")  # type: ignore[union-attr]
    if encoding != "utf8":
        return True
    said = next((v for k in ("LC_ALL", "LC_CTYPE", "LANG") if (v := os.environ.get(k))), "C")
    if said not in ("C", "POSIX", "C.UTF-8"):
        return False
    return not shows_utf8()


def shows_utf8() -> bool:
    """Write one two-byte character and ask where the cursor stands; no answer counts as no."""
    descriptor = sys.__stdin__.fileno()  # type: ignore[union-attr]
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        os.write(sys.__stderr__.fileno(), b"\r\xc3\xa9\x1b[6n")  # type: ignore[union-attr]
        reply, until = b"", time.monotonic() + _PROBE_SECONDS
        while not reply.endswith(b"R") and (left := until - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                reply += os.read(descriptor, 32) or b"R"
        return reply.endswith(b";2R")
    finally:
        os.write(sys.__stderr__.fileno(), b"\r\x1b[K")  # type: ignore[union-attr]
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


class Farewell:
    """Signals and a lost terminal end the viewer, with the terminal as it was found.

    Textual hooks neither SIGTERM nor SIGHUP, and spins on a closed terminal when SIGHUP is
    ignored. ``leave`` is called from a signal handler or another thread; if the way out is
    blocked (a stalled line blocks writes), the process ends here instead.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._descriptor = sys.__stdin__.fileno()  # type: ignore[union-attr]
        self._attributes = termios.tcgetattr(self._descriptor)
        self.code: int | None = None
        for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                signal.signal(number, lambda *_, code=code: self.begin(code))
        threading.Thread(target=self._watch, name="hangup", daemon=True).start()

    def begin(self, code: int) -> None:
        """Leave with ``code``: politely now, by force shortly after."""
        if self.code is None:
            self.code = code
            threading.Thread(target=self._force, daemon=True).start()
            self._leave()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, 0)  # hangup and error are told unasked, input is not
        while self.code is None:
            if any(kind & (select.POLLHUP | select.POLLERR) for _, kind in poll.poll(60_000)):
                self.begin(129)

    def end(self) -> None:
        """The end after a polite way out; what still waits for a lost terminal is left behind."""
        os._exit(self.code or 0)

    def _force(self) -> None:
        time.sleep(_GRACE_SECONDS)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._attributes)
        with contextlib.suppress(OSError):
            if select.select([], [self._descriptor], [], 0)[1]:
                os.write(self._descriptor, _RESTORE)
        self.end()
