"""A warm federation to be broken on purpose: what can be done to it, and how that is judged."""

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random

from fedtui import events, operations, orders, processes
from fedtui.errors import OperatorError
from fedtui.site import Home
from fedtui.study import Study
from tests import faulty, invariants
from tests import federation as fed
from tests.faulty import Host
from tests.federation import COORDINATOR, SITE, Federation, records, until
from tests.narrow import Narrow

ROUNDS = 12
STUDY = fed.study(rounds=ROUNDS, training={"learning_rate": 0.1, "batch": 32, "epochs": 2})


class Skipped(Exception):
    """This host cannot carry a scenario out; the reason."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What was done to which process, so many seconds into the run."""

    at: float
    what: str
    target: str


@dataclass
class Bench:
    """A warm federation, one site behind a line that can be cut, and what was done to it.

    Attributes:
        hosts: Whose disk and clock can be broken, by home; empty without a C compiler.
        weights: The model of an undisturbed run of the usual study, ``numbers`` its rounds.
        others: The same of other studies, by the study's id.
        before: The coordinator's journal as it stood when the run was submitted, ``there`` the
            site's.
    """

    made: Federation
    proxy: Narrow
    hosts: dict[str, Host] = field(default_factory=dict)
    weights: bytes = b""
    numbers: list[events.RoundEnded] = field(default_factory=list)
    others: dict[str, tuple[bytes, list[events.RoundEnded]]] = field(default_factory=dict)
    history: list[Operation] = field(default_factory=list)
    began: float = 0.0
    run: str = ""
    before: int = 0
    there: int = 0

    @property
    def coordinator(self) -> Home:
        return self.made.coordinator

    @property
    def site(self) -> Home:
        return self.made.site

    def undisturbed(self, study: Study) -> tuple[bytes, list[events.RoundEnded]]:
        """Model and rounds of a run that nothing happens to; the first call carries it out."""
        if study == STUDY:
            return self.weights, self.numbers
        if study.id not in self.others:
            ended = self.made.run(study)
            self.others[study.id] = (
                fed.weights(ended),
                invariants.numbers(self.coordinator, ended.run),
            )
        return self.others[study.id]

    def note(self, what: str, target: str) -> None:
        self.history.append(Operation(round(time.monotonic() - self.began, 2), what, target))

    def round(self, number: int, *, seconds: float = 180.0) -> None:
        """Wait until that round, or the run, has ended."""
        until(
            self.coordinator,
            lambda e: (
                (isinstance(e, events.RoundEnded) and e.run == self.run and e.round >= number)
                or (isinstance(e, events.RunEnded) and e.run == self.run)
            ),
            after=self.before,
            seconds=seconds,
        )

    def pid(self, home: Home, process: str) -> int | None:
        if process != "trainer":
            return processes.running(home, process)
        with contextlib.suppress(OperatorError):
            found = orders.order(home, "agent", "status").get("trainer")
            return int(found) if found else None
        return None

    def signal(self, home: Home, process: str, number: int) -> int | None:
        """Send it; None where there is no such process at this moment."""
        pid = self.pid(home, process)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
        self.note(signal.Signals(number).name, f"{process} of {home.path.name}")
        return pid

    def kill(self, home: Home, process: str) -> None:
        self.signal(home, process, signal.SIGKILL)

    def freeze(self, home: Home, process: str, seconds: float) -> None:
        pid = self.signal(home, process, signal.SIGSTOP)
        time.sleep(seconds)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.note("SIGCONT", process)

    def partition(self, seconds: float) -> None:
        self.note(f"cut for {seconds:.0f} s", SITE)
        self.proxy.cut()
        try:
            time.sleep(seconds)
        finally:
            self.proxy.restore()
        self.note("line is back", SITE)

    def up(self, home: Home) -> None:
        """Start a home's processes on its own host."""
        with self.hosts[home.path.name].within() if self.hosts else contextlib.nullcontext():
            operations.up(home)
        self.note("up", home.path.name)

    def reboot(self, home: Home) -> None:
        """Everything of a home dies at once; then somebody starts it, as a boot would."""
        self.note("power lost", home.path.name)
        for process in ("supervisor", "coordinator", "agent", "trainer"):
            if (pid := self.pid(home, process)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 20
        while any(processes.running(home, p) for p in ("supervisor", "coordinator", "agent")):
            for process in ("supervisor", "coordinator", "agent"):  # one may have been reborn
                if (pid := processes.running(home, process)) is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < end, "something does not die"
            time.sleep(0.05)
        self.up(home)

    def told(self, home: Home, wanted: Callable[[events.Event], bool], after: int) -> None:
        """Wait until a home's journal, written after position ``after``, says so."""
        until(home, wanted, after=after, seconds=60)

    def warm(self) -> None:
        """Wait until every process is there; one that comes with work is given some."""
        fed.answering(self.coordinator, "coordinator", seconds=60)
        end = time.monotonic() + 60
        for home in self.made.homes.values():
            while not processes.running(home, "supervisor"):
                assert time.monotonic() < end, f"{home.path.name} is not supervised"
                time.sleep(0.1)
        if None in [self.pid(home, "trainer") for home in self.made.homes.values()]:
            self.made.run(fed.study(id="warm", rounds=1))


Act = Callable[[Bench, Random], None]


def _as_it_is(_: Bench) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to break a run.

    Attributes:
        around: What the run is to begin and end in.
        equal: Whether the model must be the undisturbed one, bit for bit.
        repeats: How often in its tier, each with another seed.
        patience: Seconds that the run may take once ``act`` is over.
        breaks_hosts: Whether it breaks disks or clocks, which needs a C compiler.
        slow: Whether the tests carry it out in their slow tier only.
    """

    name: str
    tier: int
    act: Act
    around: Callable[[Bench], AbstractContextManager[None]] = _as_it_is
    equal: bool = True
    repeats: int = 1
    study: Study = STUDY
    patience: float = 240.0
    breaks_hosts: bool = False
    slow: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(*, tier: int, **options: object) -> Callable[[Act], Act]:
    """Register a function under its own name."""

    def add(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name] = Scenario(name=name, tier=tier, act=act, **options)  # type: ignore[arg-type]
        return act

    return add


def moment(bench: Bench, chance: Random) -> None:
    """Any instant of any round: a whole round, then a part of one."""
    bench.round(chance.randint(1, ROUNDS - 3))
    time.sleep(chance.uniform(0.0, 0.5))


@contextlib.contextmanager
def prepared() -> Iterator[Bench]:
    """A warm federation with the numbers of an undisturbed run of the usual study."""
    port = fed.free_port()
    proxy = Narrow(port)
    try:
        with fed.homes(COORDINATOR, SITE, port=port, dial=f"127.0.0.1:{proxy.port}") as made:
            hosts: dict[str, Host] = {}
            if not faulty.MISSING:
                library = faulty.compiled(made.folder)
                for name, home in made.homes.items():
                    hosts[name] = Host(library, made.folder / f"{name}.faults", home.path)
            for name in made.homes:
                with hosts[name].within() if hosts else contextlib.nullcontext():
                    made.up(name)
            for name in made.homes:
                made.linked(name)
            bench = Bench(made, proxy, hosts)
            ended = made.run(STUDY)
            bench.weights = fed.weights(ended)
            bench.numbers = invariants.numbers(made.coordinator, ended.run)
            yield bench
    finally:
        proxy.close()


def carry_out(bench: Bench, one: Scenario, seed: int) -> list[str]:
    """Run a scenario; returns what does not hold, empty when all does.

    Raises:
        Skipped: this host cannot carry it out.
    """
    if one.breaks_hosts and not bench.hosts:
        raise Skipped(faulty.MISSING)
    bench.history, bench.began, bench.run = [], time.monotonic(), ""
    for host in bench.hosts.values():
        host.mend()
    broken: list[str] = []
    try:
        weights, rounds = bench.undisturbed(one.study) if one.equal else (None, None)
        bench.began = time.monotonic()
        with one.around(bench):
            bench.before, bench.there = fed.head(bench.coordinator), fed.head(bench.site)
            bench.run = bench.made.start(one.study)
            one.act(bench, Random(seed))
            ended = bench.made.ended(bench.run, seconds=one.patience)
    except Skipped:
        raise
    except Exception as error:  # the runner's boundary: told as what does not hold
        traceback.print_exc()
        for host in bench.hosts.values():
            host.mend()
        bench.made.idle()
        return [f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
    broken += invariants.broken(bench.made, ended, weights=weights, rounds=rounds)
    if broken:
        broken += [
            f"said: {record.event.sentence}"
            for home in bench.made.homes.values()
            for record, _ in records(
                home, events.AnswerRefused, events.WorkFailed, events.RunResumed, run=bench.run
            )
        ]
    return broken
