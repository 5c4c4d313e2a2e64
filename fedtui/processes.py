"""The processes of a home: who runs, starting, stopping, supervising, and giving them orders.

``python -m fedtui.processes HOME`` is the supervisor. It starts the agent and the coordinator,
starts them again when they die, and adopts those that outlived an earlier supervisor; they in
turn start a new supervisor when theirs is gone, so that killing any one process heals.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedtui import __version__, errors, events, site
from fedtui.errors import BusyError, NetworkError, OperatorError, RunError, UsageError
from fedtui.journal import Journal
from fedtui.site import Home

MODULES = {
    "supervisor": "fedtui.processes",
    "agent": "fedtui.flower.agent",
    "coordinator": "fedtui.flower.coordinator",
}
STOP_SECONDS = 4.0  # then SIGKILL; `down` promises 5 s in all
_ORDER_SECONDS = 10.0
_STARTING_SECONDS = 0.5  # a probe of a lock may briefly stand in a starter's way
_BACKOFF = (
    0.1,
    0.5,
    2.0,
    5.0,
    15.0,
    30.0,
)  # seconds between restarts of a process that dies at once
_STEADY_SECONDS = 30.0  # alive this long, and the backoff starts over


class Lock:
    """An exclusive claim that ends with its process, however that ends.

    Raises:
        BusyError: another process holds it; names its id.
    """

    def __init__(self, home: Home, process: str) -> None:
        home.state.mkdir(mode=0o700, exist_ok=True)
        self._file = home.lock(process).open("a+", encoding="ascii")  # held for life
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
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

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
        "NO_PROXY": ",".join(sorted(exempt)),
        "no_proxy": ",".join(sorted(exempt)),
    }
    return values


def spawn(home: Home, process: str) -> subprocess.Popen[bytes]:
    """Start ``process`` of ``home`` in a session of its own, so that a hangup cannot reach it."""
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
    site.check_socket_path(home)
    fresh = not wanted(home)
    home.state.mkdir(mode=0o700, exist_ok=True)
    for process in roles:
        _failure(home, process).unlink(missing_ok=True)
    scratch = home.state / f"wanted.{os.getpid()}"  # in one step: a supervisor may be reading it
    scratch.touch(mode=0o600)
    scratch.write_text(json.dumps(roles), encoding="ascii")
    scratch.replace(home.state / "wanted")
    if running(home, "supervisor") is None:
        supervisor = spawn(home, "supervisor")
        # Collected when it ends: a dashboard lives long, and must not keep a dead child.
        threading.Thread(target=supervisor.wait, name="supervisor", daemon=True).start()
    until = time.monotonic() + seconds
    for process in roles:
        while not answers(home, process):
            if failure := _read_failure(home, process):
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
        _signal(descriptor, signal.SIGTERM)
    found, until = bool(alive), time.monotonic() + STOP_SECONDS
    while alive and (pause := until - time.monotonic()) > 0:
        ended, _, _ = select.select(alive, [], [], pause)
        for descriptor in ended:
            alive.remove(descriptor)
            os.close(descriptor)
    for descriptor in [*alive, *_descriptors(home)]:  # also one that was just being started
        _signal(descriptor, signal.SIGKILL)
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


def _signal(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def carry(home: Home, process: str, body: Callable[[], None]) -> int:
    """Run a process's ``body``; what ends it is left where ``start`` finds it. Returns the code."""
    try:
        body()
    except Exception as error:  # the process's boundary: named for `up`, traced in its own log
        traceback.print_exception(error)
        named = error
        if not isinstance(named, OperatorError):
            named = RunError(
                f"The {process} ended with an unforeseen {type(error).__name__}.",
                remedy=f"Read {home.log(process)}, and report it.",
            )
        _failure(home, process).write_text(json.dumps(named.to_json()), encoding="utf-8")
        return named.exit_code
    return 0


def _failure(home: Home, process: str) -> Path:
    return home.state / f"{process}.error"


def _read_failure(home: Home, process: str) -> OperatorError | None:
    try:
        return errors.from_json(json.loads(_failure(home, process).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):  # ValueError: caught in mid-write, look again
        return None


# Orders: one JSON request a line, one JSON answer a line, through a Unix socket in the home.

Orders = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]


def order(home: Home, process: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Give ``process`` an order and return its answer.

    Raises:
        UsageError: it is not running.
        OperatorError: the one it answered with.
    """
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ORDER_SECONDS)
            client.connect(str(home.socket(process)))
            client.sendall(json.dumps({"order": name, **arguments}).encode() + b"\n")
            with client.makefile("rb") as reader:
                line = reader.readline()
    except OSError as error:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            raise UsageError(
                f"The {process} of {home.path} is not running.",
                remedy=f"Start it with 'fedtui up --home {home.path}'.",
            ) from error
        raise NetworkError(
            f"The {process} of {home.path} did not answer within {_ORDER_SECONDS:.0f} s.",
            remedy=f"Read {home.log(process)}; 'fedtui down' and 'up' restart it.",
        ) from error
    if not line:
        raise NetworkError(
            f"The {process} of {home.path} ended before it answered.",
            remedy="It is being started again; try once more.",
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise errors.from_json(answer)
    return answer


def answers(home: Home, process: str) -> bool:
    """Whether ``process`` takes orders now."""
    with contextlib.suppress(OperatorError):
        return bool(order(home, process, "ping"))
    return False


def take_orders(home: Home, process: str, orders: Orders, journal: Journal) -> socket.socket:
    """Serve ``orders`` on the home's socket in threads; the caller's uid is journaled.

    The caller holds the process's lock, so an old socket file is nobody's.
    """
    path = home.socket(process)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(8)

    def serve(client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream, contextlib.suppress(OSError):
            client.settimeout(_ORDER_SECONDS)
            stream.write(json.dumps(_answer(client, stream.readline())).encode() + b"\n")

    def _answer(client: socket.socket, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = str(request.pop("order"))
            action = orders[name]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return UsageError(
                f"The {process} does not know this order.", remedy="Use the same fedtui everywhere."
            ).to_json()
        if name not in ("ping", "status"):
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            uid = struct.unpack("3i", credentials)[1]
            journal.append(events.OrderTaken(order=name, process=process, uid=uid))
        try:
            return action(request)
        except OperatorError as error:
            return error.to_json()
        except Exception as error:  # an order's boundary: traced in the local log, answered here
            traceback.print_exception(error)
            return RunError(
                f"The {process} could not carry out this order: {type(error).__name__}.",
                remedy=f"Read {home.log(process)}, and report it.",
            ).to_json()

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # closed: the process is ending
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, name="orders", daemon=True).start()
    return server


def keep_supervised(home: Home) -> None:
    """In an agent or coordinator: start a new supervisor whenever the old one is gone."""

    def watch() -> None:
        while True:
            time.sleep(1.0)
            if wanted(home) and running(home, "supervisor") is None:
                spawn(home, "supervisor").wait()

    threading.Thread(target=watch, name="supervision", daemon=True).start()


# The supervisor.


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
                _bury(watched[descriptor], journal)
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


def _bury(ward: _Ward, journal: Journal) -> None:
    if ward.descriptor is not None:
        os.close(ward.descriptor)
    ward.descriptor = None
    code = ward.child.wait() if ward.child else None
    ward.child = None
    lived = time.monotonic() - ward.since
    ward.failures = 0 if lived > _STEADY_SECONDS else ward.failures + 1
    ward.due = time.monotonic() + _BACKOFF[min(ward.failures, len(_BACKOFF) - 1)]
    journal.append(events.ProcessEnded(process=ward.process, cause=cause(code)))


def _end(home: Home, ward: _Ward, journal: Journal) -> None:
    if ward.descriptor is None:
        return
    _signal(ward.descriptor, signal.SIGTERM)
    if not select.select([ward.descriptor], [], [], STOP_SECONDS - 1)[0]:
        _signal(ward.descriptor, signal.SIGKILL)
        select.select([ward.descriptor], [], [], 1.0)
    home.socket(ward.process).unlink(missing_ok=True)
    _bury(ward, journal)


def cause(code: int | None) -> str:
    """Why a process ended, from its wait status: 'stopped', 'killed by SIGKILL', 'exit code 3'."""
    if code is None:
        return "gone"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" if code != -signal.SIGTERM else "stopped"
    return "stopped" if code in (0, 143) else f"exit code {code}"


if __name__ == "__main__":
    sys.exit(supervise(Home(Path(sys.argv[1]))))
