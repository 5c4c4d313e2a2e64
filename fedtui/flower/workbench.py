"""The agent's side of the trainer: start it, order one thing at a time, replace it when it dies."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtui import errors, processes
from fedtui.errors import ResourceError
from fedtui.flower.work import write_atomically
from fedtui.site import Home

_TRIES = 3  # a trainer killed three times over one piece of work will not manage it
_COUNTERS = Path("/proc/vmstat")
Progress = Callable[[int, int, float | None, int], None]


class _EndedError(Exception):
    """The trainer died before it answered.

    Attributes:
        batch: Examples a step of the training in which SIGKILL met it, as it meets who takes too
            much memory; 0 for any other death.
    """

    def __init__(self, cause: str, batch: int = 0) -> None:
        super().__init__(cause)
        self.batch = batch


class Workbench:
    """One trainer process, started at the first need or by ``warm``, ended by ``rest``.

    Args:
        on_start: Called with the device's description each time a trainer is ready.
        on_end: Called with the cause each time one dies unasked.
    """

    def __init__(
        self,
        home: Home,
        site: str,
        *,
        on_start: Callable[[int, dict[str, Any]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._home, self._site = home, site
        self._on_start, self._on_end = on_start, on_end
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._used = time.monotonic()
        self._cut = ("", 1)  # a study, and into how many pieces its batches are cut here

    @property
    def pid(self) -> int | None:
        """The live trainer's process id."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def warm(self) -> None:
        """Start the trainer in the background, so that the first round does not wait for JAX."""
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    @property
    def idle_seconds(self) -> float:
        """How long the live trainer has had nothing to do; 0 while it works or there is none."""
        idle = self.pid is not None and not self._lock.locked()
        return time.monotonic() - self._used if idle else 0.0

    def rest(self, seconds: float) -> None:
        """End a trainer that was idle for ``seconds``: its memory and device are the hospital's."""
        if self._lock.acquire(blocking=False):
            try:
                if self._child is not None and time.monotonic() - self._used >= seconds:
                    self._end()
                    self._on_end(f"stopped, no work for {seconds:.0f} s")
            finally:
                self._lock.release()

    def do(
        self,
        order: dict[str, Any],
        progress: Progress | None = None,
        on_access: Callable[[dict[str, Any]], None] | None = None,
        on_split: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Have the trainer carry out ``order``; a trainer that dies is replaced and asked again.

        Where the kernel ended it for want of memory, in the middle of training, batches are cut
        into twice as many pieces. Not every kernel tells: then a second SIGKILL counts as that,
        while the first may be anybody's, and the same work again gives the same bits.

        Args:
            progress: Told the steps done, the steps in all, the loss, and the examples seen.
            on_access: Told whose data are read, before they are used.
            on_split: Told into how many pieces batches are cut from now on.

        Raises:
            OperatorError: the trainer's own named error.
            ResourceError: it died three times over this order.
        """
        with self._lock:
            deaths = kills = 0
            while True:
                pieces, starved = self._pieces(order), _starved()
                try:
                    return self._ask({**order, "pieces": pieces}, progress, on_access, on_split)
                except _EndedError as error:
                    self._end()
                    self._on_end(str(error))
                    deaths, kills = deaths + 1, kills + (error.batch > 0)
                    pieces = 2 * self._pieces(order)
                    if pieces <= error.batch and (kills > 1 or _starved() > starved):
                        deaths = 0  # another order, which may fit
                        self._split(order, pieces, on_split)
                    elif deaths == _TRIES:
                        raise ResourceError(
                            f"The trainer died {_TRIES} times over the same work ({error}).",
                            remedy="Look for the out-of-memory killer in 'dmesg', and read "
                            "run/trainer.log.",
                        ) from error
                finally:
                    self._used = time.monotonic()

    def close(self) -> None:
        """End the trainer."""
        child = self._child
        if child is not None:
            child.kill()
            self._end()

    def _pieces(self, order: dict[str, Any]) -> int:
        study, pieces = self._cut
        return pieces if order["study"] == study else 1

    def _split(
        self, order: dict[str, Any], pieces: int, on_split: Callable[[int], None] | None
    ) -> None:
        """Remember it, so that a later round or trainer need not fail first, and tell it once."""
        if pieces > self._pieces(order):
            self._cut = (order["study"], pieces)
            if on_split is not None:
                on_split(pieces)

    def _warm(self) -> None:
        with self._lock:
            try:
                self._started()
                self._used = time.monotonic()
            except _EndedError as error:
                self._end()
                self._on_end(str(error))

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            cache = self._home.path / "cache"
            cache.mkdir(mode=0o700, exist_ok=True)
            secret = self._home.keys / "noise.key"
            if not secret.exists():
                write_atomically(secret, secrets.token_bytes(32), durable=True)
            descriptor = os.open(
                self._home.log("trainer"), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600
            )
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "fedtui.flower.trainer",
                    self._site,
                    str(cache / "compiled"),
                    str(secret),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=descriptor,
                text=True,
                encoding="utf-8",
                env=processes.for_training(processes.environment(self._home)),
                cwd=self._home.path,
            )
            os.close(descriptor)
            ready = self._read(self._child)
            self._on_start(self._child.pid, ready["ready"])
        return self._child

    def _ask(
        self,
        order: dict[str, Any],
        progress: Progress | None,
        on_access: Callable[[dict[str, Any]], None] | None,
        on_split: Callable[[int], None] | None,
    ) -> dict[str, Any]:
        child, batch = self._started(), 0
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
        except OSError as error:
            raise _EndedError(_cause(child)) from error
        while True:
            message = self._read(child, batch)
            if "progress" in message:
                if progress is not None:
                    step = message["progress"]
                    progress(step["step"], step["steps"], step["loss"], step.get("examples", 0))
            elif "training" in message:
                batch = message["training"]
            elif "split" in message:
                self._split(order, message["split"], on_split)
            elif "access" in message:
                if on_access is not None:
                    on_access(message["access"])
            elif "failed" in message:
                raise errors.from_json(message["failed"])
            else:
                done: dict[str, Any] = message["done"]
                return done

    def _read(self, child: subprocess.Popen[str], batch: int = 0) -> dict[str, Any]:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            killed = child.wait() == -signal.SIGKILL
            raise _EndedError(_cause(child), batch if killed else 0)
        message: dict[str, Any] = json.loads(line)
        return message

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:  # unsent bytes for a dead reader
                        continue


def _cause(child: subprocess.Popen[str]) -> str:
    return processes.cause(child.wait())


def _starved() -> int:
    """How many processes this kernel has ended for want of memory; 0 where it does not say."""
    try:
        lines = _COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
