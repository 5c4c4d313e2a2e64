"""The supervisor: ``python -m fedtui.supervisor HOME`` keeps a home's processes alive.

It starts the agent and the coordinator, starts them again when they die, and adopts those that
outlived an earlier supervisor; they in turn start a new one when theirs is gone. With the roles
after HOME it is what ``up --foreground`` turns into: it stays on the terminal or under systemd,
says when all are up, and takes them down with it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from fedtui import __version__, events, orders, processes
from fedtui.errors import BusyError, OperatorError, StorageError
from fedtui.journal import Journal
from fedtui.processes import STOP_SECONDS, Lock, cause, running, spawn, wanted
from fedtui.processes import send_signal as _signal
from fedtui.site import Home

_BACKOFF = (
    0.1,
    0.5,
    2.0,
    5.0,
    15.0,
    30.0,
)  # seconds between restarts of a process that dies at once
_STEADY_SECONDS = 30.0  # alive this long, and the backoff starts over
_LOG_SECONDS = 10.0  # between two looks at the size of the logs
_ENDINGS = {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGHUP: 129}  # exit codes, foreground


class _Ward:
    """One supervised process: alive under ``descriptor``, or due to start at ``due``."""

    def __init__(self, process: str) -> None:
        self.process = process
        self.child: subprocess.Popen[bytes] | None = None
        self.descriptor: int | None = None
        self.since = 0.0
        self.failures = 0
        self.due = 0.0


class _Diary:
    """The journal for a loop that must turn: what a full disk does not take is kept for later."""

    def __init__(self, home: Home) -> None:
        self._journal = Journal(home.journal, source="supervisor")
        self._kept: list[events.Event] = []

    def append(self, event: events.Event) -> None:
        self._kept.append(event)
        self.write()

    def write(self) -> None:
        """Write what is kept, if that is possible now."""
        if self._kept:
            with contextlib.suppress(StorageError):
                self._journal.append_all([(event, 0) for event in self._kept])
                self._kept = []

    def close(self) -> None:
        self._journal.close()


class Notifier:
    """What systemd is told through ``NOTIFY_SOCKET`` (sd_notify(3)); without one, nothing."""

    def __init__(self) -> None:
        # Taken out of the environment: a child that found them would speak in our name.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_PID", "")
        self._pause = int(os.environ.pop("WATCHDOG_USEC", "0")) / 2e6  # half, as sd_notify advises
        self._due = 0.0
        self._socket = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)

    def tell(self, *words: str) -> None:
        """Send assignments such as READY=1."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # systemd is being restarted
                self._socket.send("\n".join(words).encode())

    def beat(self) -> None:
        """Tell the watchdog that this loop turns, as often as it wants to hear it."""
        if self._pause and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._pause
            self.tell("WATCHDOG=1")


def supervise(home: Home, roles: tuple[str, ...] = (), *, json_: bool = False) -> int:
    """Keep the wanted processes alive until told to end or nobody wants them.

    Args:
        roles: In the foreground, what to bring up; detached, what is wanted is in a file.
        json_: Whether the foreground says so in JSON.

    Raises:
        OperatorError: in the foreground, what kept a process from starting.
    """
    try:
        lock = Lock(home, "supervisor")
    except BusyError:
        if roles:
            raise
        return 0  # another one was faster
    notifier = Notifier()
    if roles:
        processes.want(home, roles)
    journal = _Diary(home)
    reader = _listen(tuple(_ENDINGS) if roles else (signal.SIGTERM, signal.SIGINT))
    if not roles:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    journal.append(
        events.ProcessStarted(process="supervisor", pid=os.getpid(), version=__version__)
    )
    failure, number = _keep(home, roles, journal, reader, notifier, json_=json_)
    if roles:
        (home.state / "wanted").unlink(missing_ok=True)
    journal.append(events.ProcessEnded(process="supervisor", cause="stopped"))
    journal.close()
    lock.release()
    if failure is not None:
        raise failure
    return _ENDINGS.get(signal.Signals(number), 0) if roles and number else 0


def _keep(
    home: Home,
    roles: tuple[str, ...],
    journal: _Diary,
    reader: int,
    notifier: Notifier,
    *,
    json_: bool,
) -> tuple[OperatorError | None, int]:
    """The loop; returns what kept a role from starting, if anything, and the signal that came."""
    wards = [_Ward(process) for process in wanted(home)]
    failure, number, looked, waiting = None, 0, 0.0, bool(roles)
    while not number and failure is None and wanted(home):
        now = time.monotonic()
        notifier.beat()
        if now - looked >= _LOG_SECONDS:
            looked = now
            processes.bound_logs(home)
            journal.write()
        for ward in wards:
            if ward.descriptor is None and now >= ward.due:
                try:
                    _raise(home, ward)
                except OSError:  # a full disk has no room for its log
                    ward.due = now + _BACKOFF[-1]
        watched = {w.descriptor: w for w in wards if w.descriptor is not None}
        soonest = min((max(0.0, w.due - now) for w in wards if w.descriptor is None), default=1.0)
        pause = min(0.05 if waiting else 1.0, soonest)
        ready, _, _ = select.select([reader, *watched], [], [], pause)
        for descriptor in ready:
            if descriptor == reader:
                number = os.read(reader, 1)[0]
            else:
                _bury(home, watched[descriptor], journal)
        if waiting:
            failure = next(filter(None, (processes.failure_of(home, r) for r in roles)), None)
            if all(orders.answers(home, role) for role in roles):
                waiting, failure = False, None
                notifier.tell("READY=1", f"STATUS=up: {', '.join(roles)}")
                said = {"schema": 1, "up": roles}
                print(json.dumps(said) if json_ else f"up: {', '.join(roles)}", flush=True)  # noqa: T201
    notifier.tell("STOPPING=1")
    for ward in wards:
        if ward.descriptor is not None:
            _signal(ward.descriptor, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS - 1
    for ward in wards:
        _end(home, ward, journal, until)
    return failure, number


def _listen(numbers: tuple[signal.Signals, ...]) -> int:
    """A descriptor from which each of these signals can be read as a byte when it comes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reader


def _raise(home: Home, ward: _Ward) -> None:
    pid = running(home, ward.process)  # one that outlived an earlier supervisor is adopted
    if pid is None:
        ward.child = spawn(home, ward.process)
        pid = ward.child.pid
    with contextlib.suppress(ProcessLookupError):
        ward.descriptor = os.pidfd_open(pid)
    ward.since = time.monotonic()


def _bury(home: Home, ward: _Ward, journal: _Diary, *, ending: bool = False) -> None:
    if ward.descriptor is not None:
        os.close(ward.descriptor)
    ward.descriptor = None
    code = ward.child.wait() if ward.child else None
    ward.child = None
    lived = time.monotonic() - ward.since
    ward.failures = 0 if lived > _STEADY_SECONDS else ward.failures + 1
    ward.due = time.monotonic() + _BACKOFF[min(ward.failures, len(_BACKOFF) - 1)]
    journal.append(events.ProcessEnded(process=ward.process, cause=cause(code)))
    if ward.failures and not ending:
        processes.note_failure(home, ward.process, cause(code))


def _end(home: Home, ward: _Ward, journal: _Diary, until: float) -> None:
    """Wait for a process that was told to end; past ``until`` (monotonic) it is killed."""
    if ward.descriptor is None:
        return
    if not select.select([ward.descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
        _signal(ward.descriptor, signal.SIGKILL)
        select.select([ward.descriptor], [], [], 1.0)
    home.socket(ward.process).unlink(missing_ok=True)
    _bury(home, ward, journal, ending=True)


def main(words: list[str]) -> int:
    """``HOME``, then in the foreground ``--json`` where wanted, and the roles."""
    home, json_ = Home(Path(words[0])), "--json" in words
    try:
        return supervise(home, tuple(w for w in words[1:] if w != "--json"), json_=json_)
    except OperatorError as error:
        if json_:
            print(json.dumps(error.to_json()))  # noqa: T201 - results go to stdout
        else:
            print(f"fedtui: {error}\n  {error.remedy}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
