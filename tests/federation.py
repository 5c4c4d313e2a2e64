"""A real federation for tests: homes on disk, processes, TLS on loopback; none of it survives."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from fedtui import events, journal, operations, orders, processes
from fedtui.events import Event
from fedtui.flower import checkpoints
from fedtui.journal import Journal
from fedtui.record import Record
from fedtui.site import Home
from fedtui.study import Quorum, Study
from tests import compiled

COORDINATOR = "sahlgrenska"
SITE = "halland"
PARTS = ("even", "odd", "all")
E = TypeVar("E", bound=Event)


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def study(**changes: Any) -> Study:
    """A study over the digits that two sites finish in a few seconds."""
    terms: dict[str, Any] = {
        "id": "digits",
        "purpose": "a test",
        "sites": (COORDINATOR, SITE),
        "data": "digits",
        "model": "mlp",
        "rounds": 2,
        "normalisation": "none",
        "training": {"learning_rate": 0.1, "batch": 32},
        "quorum": Quorum(minimum_sites=1),  # one site's trouble must not end the others' run
    }
    return Study(**{**terms, **changes})


def records(home: Home, *kinds: type[E], run: str = "", after: int = 0) -> list[tuple[Record, E]]:
    """What this home wrote itself, of ``kinds``, of one run where it is named."""
    book = Journal(home.journal, source="test")
    try:
        found = book.own([kind.__name__ for kind in kinds], after)
    finally:
        book.close()
    return [(r, r.event) for r in found if not run or getattr(r.event, "run", "") == run]  # type: ignore[misc]


def head(home: Home) -> int:
    """The position of the journal's last record."""
    book = Journal(home.journal, source="test")
    try:
        return book.head()[0]
    finally:
        book.close()


def until(
    home: Home, wanted: Callable[[Event], bool], *, after: int = 0, seconds: float = 60.0
) -> Record:
    """The first record after ``after`` whose event is wanted; fails with the journal's end."""
    deadline = time.monotonic() + seconds
    for record in journal.follow(
        home.journal, after=after, stop=lambda: time.monotonic() > deadline, seconds=0.05
    ):
        if wanted(record.event):
            return record
    book = Journal(home.journal, source="test")
    tail = [f"{r.seq} {r.source} {r.event.sentence}" for r in book.read()[-25:]]
    book.close()
    logs = [f"--- {path}\n{path.read_text()[-1500:]}" for path in home.state.glob("*.log")]
    raise AssertionError("\n".join(["not in the journal within the time:", *tail, *logs]))


def answering(home: Home, process: str, *, seconds: float = 20.0) -> None:
    """Wait until a process takes orders; it says that it started a moment before."""
    deadline = time.monotonic() + seconds
    while not orders.answers(home, process):
        assert time.monotonic() < deadline, f"the {process} takes no orders"
        time.sleep(0.05)


def weights(ended: events.RunEnded) -> bytes:
    """The joint model of a completed run, bit for bit; its file also names the run."""
    data = Path(ended.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == ended.sha256
    return checkpoints.parse(data, name=ended.file).parameters.tobytes()


def living(folder: Path) -> list[psutil.Process]:
    """Every process whose command line names something in ``folder``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                found.append(process)
    return found


def left_over(made: "Federation") -> list[str]:
    """What is still there of a federation that is down: processes, sockets, locks, its port."""
    left = []
    for process in living(made.folder):
        with contextlib.suppress(psutil.Error):
            left.append(f"process {process.pid}: {' '.join(process.cmdline())}")
    left += [f"socket {path}" for path in made.folder.rglob("*.sock")]
    for name, home in made.homes.items():
        for process_name in processes.MODULES:
            if pid := processes.running(home, process_name):
                left.append(f"lock of the {process_name} of {name}, process {pid}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", made.port))
        except OSError:
            left.append(f"port {made.port}")
    return left


@dataclass
class Federation:
    """Homes by name; the first is the coordinator's. ``port`` is where it listens."""

    folder: Path
    port: int
    homes: dict[str, Home] = field(default_factory=dict)

    @property
    def coordinator(self) -> Home:
        return next(iter(self.homes.values()))

    @property
    def site(self) -> Home:
        """The last site, which does not coordinate."""
        return list(self.homes.values())[-1]

    def up(self, name: str, *, crash: dict[str, Path] | None = None) -> None:
        """Start a home's processes, with crash points ('point@round') by marker file."""
        before = os.environ.get("FEDTUI_CRASH")
        if crash:
            os.environ["FEDTUI_CRASH"] = ",".join(f"{at}={file}" for at, file in crash.items())
        try:
            operations.up(self.homes[name])
        finally:
            if crash:
                os.environ.pop("FEDTUI_CRASH")
                if before is not None:
                    os.environ["FEDTUI_CRASH"] = before

    def warm(self, *names: str) -> None:
        """Start these homes' processes, two at a time, and wait until all are ready to train."""
        with ThreadPoolExecutor(2) as pool:  # each waits for itself, and there are two cores
            list(pool.map(self.up, names))
        for name in names:
            self.linked(name)

    def linked(self, name: str, *, after: int = 0) -> None:
        """Wait until a site's link is up and its trainer is warm."""
        home = self.homes[name]
        until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)
        until(home, lambda e: isinstance(e, events.DeviceReported), after=after)

    def start(self, agreed: Study, **options: Any) -> str:
        return operations.run(self.coordinator, agreed, **options)

    def ended(self, run: str, *, seconds: float = 90.0) -> events.RunEnded:
        """Wait for the run's end, as the coordinator tells it."""
        record = until(
            self.coordinator,
            lambda e: isinstance(e, events.RunEnded) and e.run == run,
            seconds=seconds,
        )
        assert isinstance(record.event, events.RunEnded)
        return record.event

    def run(self, agreed: Study, **options: Any) -> events.RunEnded:
        return self.ended(self.start(agreed, **options))

    def idle(self) -> None:
        """Stop the run under way, if any, so that the next test finds an idle federation."""
        with contextlib.suppress(Exception):
            self.ended(operations.stop(self.coordinator))

    def close(self) -> None:
        """Stop everything, assert that nothing is left, remove the homes."""
        began = time.monotonic()
        for home in self.homes.values():
            processes.stop(home)
        took = time.monotonic() - began
        until_gone = time.monotonic() + 2.0
        while living(self.folder) and time.monotonic() < until_gone:
            time.sleep(0.05)
        left = left_over(self)
        for process in living(self.folder):
            with contextlib.suppress(psutil.Error):
                process.kill()
        chains = [journal.verify(h.journal) for h in self.homes.values() if h.journal.exists()]
        shutil.rmtree(self.folder)
        assert not left, left
        assert all(chains)
        assert took < 5.5 * len(self.homes), f"down took {took:.1f} s"


@contextlib.contextmanager
def homes(
    *names: str,
    dial: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    listed: tuple[str, ...] = (),
) -> Iterator[Federation]:
    """Homes whose keys are exchanged as operators do; nothing runs yet.

    Args:
        names: The coordinator first (it trains too), then sites.
        dial: HOST:PORT on the invitations where it is not the coordinator's own, e.g. a proxy.
        host: Where the coordinator listens.
        port: The same; a free one unless given.
        listed: Further names for the coordinator's certificate.
    """
    federation = Federation(Path(tempfile.mkdtemp(prefix="ft-")), port or free_port())
    try:
        for number, name in enumerate(names):
            home = federation.homes[name] = Home(federation.folder / name)
            operations.create(
                home,
                name,
                coordinator=number == 0,
                host=host,
                port=federation.port,
                names=listed,
                sources={"digits": {"part": PARTS[min(number, 2)]}},
            )
            (home.path / "cache").mkdir(mode=0o700)
            (home.path / "cache" / "compiled").symlink_to(compiled.FOLDER)
            if number:
                invitation = federation.folder / f"{name}.invitation"
                text = operations.invite(
                    federation.coordinator,
                    name,
                    public_key=home.keys / "node.pub",
                    address=dial or f"127.0.0.1:{federation.port}",
                )
                invitation.write_text(text)
                operations.join(home, invitation)
        yield federation
    finally:
        federation.close()


@contextlib.contextmanager
def federation(*names: str, **options: Any) -> Iterator[Federation]:
    """The same, with every process up and every trainer warm."""
    with homes(*names, **options) as made:
        made.warm(*names)
        yield made


@contextlib.contextmanager
def coordinator() -> Iterator[Federation]:
    """A coordinator alone, without data; nothing runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    made = Federation(folder, free_port(), {"dmz": Home(folder / "dmz")})
    try:
        operations.create(
            made.coordinator, "dmz", coordinator=True, data=False, host="127.0.0.1", port=made.port
        )
        yield made
    finally:
        made.close()


class Proxy:
    """A TCP proxy on loopback that can be cut: connections die, new ones are refused."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_port()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.restore()

    def restore(self) -> None:
        """Let connections through."""
        self._call(self._listen())

    def cut(self) -> None:
        """Drop every connection and refuse new ones."""
        self._call(self._drop())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _drop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0.01)  # who was just accepted is known then
        for writer in list(self._writers):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(back)
            if self._server is None:  # cut meanwhile
                back.transport.abort()
                raise ConnectionAbortedError
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
            self._writers.discard(back)
        except OSError:
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()
        with contextlib.suppress(OSError):
            await sink.wait_closed()
