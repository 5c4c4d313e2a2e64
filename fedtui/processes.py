"""The processes of a home: who runs, starting and stopping them by their own ids.

See ``supervisor`` for what keeps them alive, ``orders`` for what they are told.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtui import errors, site
from fedtui.errors import BusyError, OperatorError, RunError
from fedtui.site import Home

if TYPE_CHECKING:
    import subprocess

MODULES = {
    "supervisor": "fedtui.supervisor",
    "agent": "fedtui.flower.agent",
    "coordinator": "fedtui.flower.coordinator",
}
STOP_SECONDS = 4.0  # then SIGKILL; `down` promises 5 s in all
LOG_BYTES = 2 << 20  # a log's size before it makes room
_LOGS_KEPT = 3
_STARTING_SECONDS = 0.5  # a probe of a lock may briefly stand in a starter's way
_ARENA_MAX = -8  # of glibc's malloc.h
# A step of training on a processor takes and returns hundreds of MB, each time as fresh zeroed
# pages from the kernel: a third of an image model's time in pieces of 4 kB, a tenth in pieces of
# 2 MB. To keep the memory instead (one arena, no mmap) costs private and small steps a fifth.
# A GPU's kernels are chosen among those that add in one order; and JAX would take three quarters
# of its memory at once, which a second home, an audit or the probe would then lack.
_FOR_TRAINING = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "XLA_FLAGS": "--xla_gpu_exclude_nondeterministic_ops=true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class Lock:
    """An exclusive claim that ends with its process, however that ends.

    Raises:
        BusyError: another process holds it; names its id.
    """

    def __init__(self, home: Home, process: str) -> None:
        home.state.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(home.lock(process), os.O_CREAT | os.O_RDWR, 0o600)
        self._file = os.fdopen(descriptor, "r+", encoding="ascii")  # held for life
        until = time.monotonic() + _STARTING_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    self._file.seek(0)
                    pid = self._file.read().strip() or "unknown"
                    self._file.close()
                    raise BusyError(
                        f"The {process} of {home.path} is already running, process {pid}.",
                        remedy=f"Use it, or stop it with 'fedtui down --home {home.path}'.",
                    ) from None
                time.sleep(0.02)
        # Over what was there, before the rest goes: a full disk has no room for a block more.
        own = str(os.getpid()).encode("ascii")
        os.pwrite(self._file.fileno(), own, 0)
        self._file.truncate(len(own))

    def release(self) -> None:
        """Give the claim up before the process ends."""
        self._file.close()


def running(home: Home, process: str) -> int | None:
    """The id of the live process that holds ``process``'s lock, else None."""
    try:
        with home.lock(process).open(encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text else None
    except FileNotFoundError:
        pass
    return None


def wanted(home: Home) -> tuple[str, ...]:
    """Which processes an operator wants up; empty after ``down``."""
    try:
        return tuple(json.loads((home.state / "wanted").read_text(encoding="ascii")))
    except FileNotFoundError:
        return ()


def want(home: Home, roles: tuple[str, ...]) -> None:
    """Say which processes are to be up; what ended them before is forgotten."""
    home.state.mkdir(mode=0o700, exist_ok=True)
    for process in roles:
        _failure(home, process).unlink(missing_ok=True)
    # In one step: a supervisor may be reading it.
    scratch = home.state / f"wanted.{os.urandom(4).hex()}"
    scratch.touch(mode=0o600)
    scratch.write_text(json.dumps(roles), encoding="ascii")
    scratch.replace(home.state / "wanted")


def bound_logs(home: Home, *, limit: int = LOG_BYTES) -> None:
    """Move logs that have grown past ``limit`` bytes to NAME.log.1, .2 and .3, the oldest away.

    Whoever writes one has it open for appending and goes on at its new beginning; what it writes
    in the milliseconds of the copy is lost. What happened is in the journal, not here.
    """
    for log in home.state.glob("*.log"):
        if log.stat().st_size <= limit:
            continue
        kept = [log.with_name(f"{log.name}.{number}") for number in range(1, _LOGS_KEPT + 1)]
        for newer, older in zip(kept[-2::-1], kept[:0:-1], strict=True):
            if newer.exists():
                newer.replace(older)
        import shutil  # 16 ms that `status` need not pay

        with contextlib.suppress(OSError):  # a full disk needs the space more than the log
            kept[0].touch(mode=0o600)
            shutil.copyfile(log, kept[0])
        os.truncate(log, 0)


def environment(home: Home) -> dict[str, str]:
    """What every child gets: Flower quiet and at home, loopback never through a proxy."""
    values = dict(os.environ)
    exempt = {"localhost", "127.0.0.1", "::1"}
    for name in ("NO_PROXY", "no_proxy"):
        exempt.update(filter(None, values.get(name, "").split(",")))
    values |= {
        "FLWR_HOME": str(home.state / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FEDTUI_CACHE": str(home.path / "cache"),  # derived data stay in the home, mode 0600
        "NO_PROXY": ",".join(sorted(exempt)),
        "no_proxy": ",".join(sorted(exempt)),
    }
    return values


def for_training(values: Mapping[str, str]) -> dict[str, str]:
    """The environment ``values``, which come first, and what training wants.

    Memory comes in large pages where the kernel has any; a GPU is asked for the same bits every
    time, and is left to other processes as far as it is not needed. Elsewhere it changes nothing.
    """
    wanted, own = _FOR_TRAINING | dict(values), values.get("XLA_FLAGS", "").strip()
    if not own or own.startswith("-"):  # else XLA takes it for the name of a file of flags
        wanted["XLA_FLAGS"] = f"{_FOR_TRAINING['XLA_FLAGS']} {own}".rstrip()  # the last one counts
    return wanted


def spawn(home: Home, process: str) -> "subprocess.Popen[bytes]":
    """Start ``process`` of ``home`` in a session of its own, so that a hangup cannot reach it."""
    import subprocess  # 4 ms that `status` need not pay

    home.state.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home.log(process), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", MODULES[process], str(home.path)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=environment(home),
            start_new_session=True,
            cwd=home.path,
            umask=0o077,  # whatever a process of the home writes is its owner's alone
        )
    finally:
        os.close(descriptor)


def start(home: Home, *, roles: tuple[str, ...], seconds: float = 60.0) -> None:
    """Bring ``roles`` up under a supervisor and wait until each takes orders.

    Raises:
        OperatorError: the one that kept a process from starting, e.g. NetworkError when the
            port is taken; everything started here is stopped again.
    """
    from fedtui import orders

    site.check_socket_path(home)
    fresh = not wanted(home)
    want(home, roles)
    if running(home, "supervisor") is None:
        supervisor = spawn(home, "supervisor")
        # Collected when it ends: a dashboard lives long, and must not keep a dead child.
        threading.Thread(target=supervisor.wait, name="supervisor", daemon=True).start()
    until = time.monotonic() + seconds
    for process in roles:
        while not orders.answers(home, process):
            if failure := failure_of(home, process):
                if fresh:
                    stop(home)
                raise failure
            if time.monotonic() > until:
                raise RunError(
                    f"The {process} did not start within {seconds:.0f} s.",
                    remedy=f"Read {home.log(process)}.",
                )
            time.sleep(0.02)


def stop(home: Home) -> bool:
    """End every process of the home within 5 s. Returns whether any was running."""
    (home.state / "wanted").unlink(missing_ok=True)
    alive = _descriptors(home)
    for descriptor in alive:
        send_signal(descriptor, signal.SIGTERM)
    found, until = bool(alive), time.monotonic() + STOP_SECONDS
    while alive and (pause := until - time.monotonic()) > 0:
        ended, _, _ = select.select(alive, [], [], pause)
        for descriptor in ended:
            alive.remove(descriptor)
            os.close(descriptor)
    for descriptor in [*alive, *_descriptors(home)]:  # also one that was just being started
        send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 1.0)
        os.close(descriptor)
    for process in ("agent", "coordinator"):
        home.socket(process).unlink(missing_ok=True)
    return found


def _descriptors(home: Home) -> list[int]:
    """A handle on each live process of the home; unlike an id, it cannot pass to another."""
    found = []
    for process in MODULES:
        pid = running(home, process)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                found.append(os.pidfd_open(pid))
    return found


def send_signal(descriptor: int, number: signal.Signals) -> None:
    """Signal the process behind a handle, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def carry(home: Home, process: str, body: Callable[[], None]) -> int:
    """Run a process's ``body``; what ends it is left where ``start`` finds it. Returns the code."""
    _stay_small()
    try:
        body()
    except Exception as error:  # the process's boundary: named for `up`, traced in its own log
        with contextlib.suppress(OSError):  # a full disk
            traceback.print_exception(error)
        named = errors.storage(error) or error
        if not isinstance(named, OperatorError):
            named = RunError(
                f"The {process} ended with an unforeseen {type(error).__name__}.",
                remedy=f"Read {home.log(process)}, and report it.",
            )
        _leave(home, process, named)
        return named.exit_code
    return 0


def _stay_small() -> None:
    """Keep memory flat for months: two heaps for all threads, not eight for each processor, and
    cycles collected by what the work makes, not by a share of all that was imported.
    """
    import ctypes
    import gc

    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def note_failure(home: Home, process: str, cause: str) -> None:
    """Leave a name for a process that died without one, e.g. while it was importing."""
    if not _failure(home, process).exists():
        error = RunError(
            f"The {process} ended before it took orders ({cause}).",
            remedy=f"Read {home.log(process)}, and report it.",
        )
        _leave(home, process, error)


def _leave(home: Home, process: str, error: OperatorError) -> None:
    with contextlib.suppress(OSError):  # a full disk: the process's log may still say it
        _failure(home, process).write_text(json.dumps(error.to_json()), encoding="utf-8")


def _failure(home: Home, process: str) -> Path:
    return home.state / f"{process}.error"


def failure_of(home: Home, process: str) -> OperatorError | None:
    """What ended ``process`` since ``want``, in its own words; None when nothing did."""
    try:
        return errors.from_json(json.loads(_failure(home, process).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):  # ValueError: caught in mid-write, look again
        return None


def keep_supervised(home: Home) -> None:
    """In an agent or coordinator: start a new supervisor whenever the old one is gone."""

    def watch() -> None:
        while True:
            time.sleep(1.0)
            if wanted(home) and running(home, "supervisor") is None:
                spawn(home, "supervisor").wait()

    threading.Thread(target=watch, name="supervision", daemon=True).start()


def cause(code: int | None) -> str:
    """Why a process ended, from its wait status: 'stopped', 'killed by SIGKILL', 'exit code 3'."""
    if code is None:
        return "gone"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" if code != -signal.SIGTERM else "stopped"
    return "stopped" if code in (0, 143) else f"exit code {code}"
