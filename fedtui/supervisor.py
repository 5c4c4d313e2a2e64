"""The supervisor: ``python -m fedtui.supervisor HOME`` keeps a home's processes alive.

It starts the agent and the coordinator, starts them again when they die, and adopts those that
outlived an earlier supervisor; they in turn start a new one when theirs is gone.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from fedtui import __version__, events, processes
from fedtui.errors import BusyError
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


class _Ward:
    """One supervised process: alive under ``descriptor``, or due to start at ``due``."""

    def __init__(self, process: str) -> None:
        self.process = process
        self.child: subprocess.Popen[bytes] | None = None
        self.descriptor: int | None = None
        self.since = 0.0
        self.failures = 0
        self.due = 0.0


def supervise(home: Home) -> int:
    """Keep the wanted processes alive until told to end or nobody wants them."""
    try:
        lock = Lock(home, "supervisor")
    except BusyError:
        return 0  # another one was faster
    journal = Journal(home.journal, source="supervisor")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    journal.append(
        events.ProcessStarted(process="supervisor", pid=os.getpid(), version=__version__)
    )
    wards = [_Ward(process) for process in wanted(home)]
    while not ending and wanted(home):
        now = time.monotonic()
        for ward in wards:
            if ward.descriptor is None and now >= ward.due:
                _raise(home, ward)
        watched = {w.descriptor: w for w in wards if w.descriptor is not None}
        pause = min([1.0, *(max(0.0, w.due - now) for w in wards if w.descriptor is None)])
        ready, _, _ = select.select([reader, *watched], [], [], pause)
        for descriptor in ready:
            if descriptor != reader:
                _bury(home, watched[descriptor], journal)
    for ward in wards:
        _end(home, ward, journal)
    journal.append(events.ProcessEnded(process="supervisor", cause="stopped"))
    journal.close()
    lock.release()
    return 0


def _raise(home: Home, ward: _Ward) -> None:
    pid = running(home, ward.process)  # one that outlived an earlier supervisor is adopted
    if pid is None:
        ward.child = spawn(home, ward.process)
        pid = ward.child.pid
    with contextlib.suppress(ProcessLookupError):
        ward.descriptor = os.pidfd_open(pid)
    ward.since = time.monotonic()


def _bury(home: Home, ward: _Ward, journal: Journal) -> None:
    if ward.descriptor is not None:
        os.close(ward.descriptor)
    ward.descriptor = None
    code = ward.child.wait() if ward.child else None
    ward.child = None
    lived = time.monotonic() - ward.since
    ward.failures = 0 if lived > _STEADY_SECONDS else ward.failures + 1
    ward.due = time.monotonic() + _BACKOFF[min(ward.failures, len(_BACKOFF) - 1)]
    journal.append(events.ProcessEnded(process=ward.process, cause=cause(code)))
    if ward.failures:
        processes.note_failure(home, ward.process, cause(code))


def _end(home: Home, ward: _Ward, journal: Journal) -> None:
    if ward.descriptor is None:
        return
    _signal(ward.descriptor, signal.SIGTERM)
    if not select.select([ward.descriptor], [], [], STOP_SECONDS - 1)[0]:
        _signal(ward.descriptor, signal.SIGKILL)
        select.select([ward.descriptor], [], [], 1.0)
    home.socket(ward.process).unlink(missing_ok=True)
    _bury(home, ward, journal)


if __name__ == "__main__":
    sys.exit(supervise(Home(Path(sys.argv[1]))))
