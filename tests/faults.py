"""Breaks a real federation on purpose, in the middle of runs, and checks that nothing is lost.

    python -m tests.faults                  tier 1, as the tests run it
    python -m tests.faults --tier 2         every kill at ten moments, long partitions, slow lines
    python -m tests.faults --tier 3         10,000 rounds with flat memory
    python -m tests.faults --only NAME --seed S     one scenario again

What was done is recorded, an operation a line; after each scenario one checker asserts the same
invariants (``tests.invariants``), not just that it ended.
"""

import argparse
import contextlib
import errno
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedtui import events, operations, orders, processes
from fedtui.errors import OperatorError
from fedtui.site import Home
from fedtui.study import Study
from tests import faulty, invariants
from tests import federation as fed
from tests.faulty import Host
from tests.federation import COORDINATOR, SITE, Federation, Proxy, records, until
from tests.terminal import Terminal

ROUNDS = 12
STUDY = fed.study(rounds=ROUNDS, training={"learning_rate": 0.1, "batch": 32, "epochs": 2})


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
    """

    made: Federation
    proxy: Proxy
    hosts: dict[str, Host] = field(default_factory=dict)
    weights: bytes = b""
    numbers: list[events.RoundEnded] = field(default_factory=list)
    history: list[Operation] = field(default_factory=list)
    began: float = 0.0
    run: str = ""

    @property
    def coordinator(self) -> Home:
        return self.made.coordinator

    @property
    def site(self) -> Home:
        return self.made.site

    def note(self, what: str, target: str) -> None:
        self.history.append(Operation(round(time.monotonic() - self.began, 2), what, target))

    def round(self, number: int) -> None:
        """Wait until that round, or the run, has ended."""
        until(
            self.coordinator,
            lambda e: (
                (isinstance(e, events.RoundEnded) and e.run == self.run and e.round >= number)
                or (isinstance(e, events.RunEnded) and e.run == self.run)
            ),
            seconds=180,
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
        with self.hosts[home.path.name].within() if self.hosts else contextlib.nullcontext():
            operations.up(home)
        self.note("up", home.path.name)

    def told(self, home: Home, wanted: Callable[[events.Event], bool], after: int) -> None:
        """Wait until a home's journal, written after position ``after``, says so."""
        until(home, wanted, after=after, seconds=60)


Act = Callable[[Bench, random.Random], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to break a run.

    Attributes:
        equal: Whether the model must be the undisturbed one, bit for bit.
        repeats: How often in its tier, each with another seed.
        breaks_hosts: Whether it breaks disks or clocks, which needs a C compiler.
    """

    name: str
    tier: int
    act: Act
    equal: bool = True
    repeats: int = 1
    study: Study = STUDY
    breaks_hosts: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *, tier: int, repeats: int = 1, study: Study = STUDY, breaks_hosts: bool = False
) -> Callable[[Act], Act]:
    """Register a function under its own name."""

    def add(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name] = Scenario(
            name=name, tier=tier, act=act, repeats=repeats, study=study, breaks_hosts=breaks_hosts
        )
        return act

    return add


def moment(bench: Bench, chance: random.Random) -> None:
    """Any instant of any round: a whole round, then a part of one."""
    bench.round(chance.randint(1, ROUNDS - 3))
    time.sleep(chance.uniform(0.0, 0.5))


@scenario(tier=1, repeats=2)
def many_faults_in_one_run(bench: Bench, chance: random.Random) -> None:
    """Four faults one after the other, drawn by the seed."""
    faults: list[Callable[[], None]] = [
        lambda: bench.kill(bench.site, "agent"),
        lambda: bench.kill(bench.site, "trainer"),
        lambda: bench.kill(bench.coordinator, "coordinator"),
        lambda: bench.kill(bench.coordinator, "agent"),
        lambda: bench.kill(bench.coordinator, "trainer"),
        lambda: bench.kill(bench.site, "supervisor"),
        lambda: bench.freeze(bench.site, "agent", 3.0),
        lambda: bench.freeze(bench.coordinator, "coordinator", 3.0),
        lambda: bench.partition(5.0),
    ]
    for number, fault in enumerate(chance.sample(faults, 4)):
        bench.round(1 + 2 * number)
        time.sleep(chance.uniform(0.0, 0.3))
        fault()


@scenario(tier=1)
def a_site_loses_power(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.reboot(bench.site)


@scenario(tier=1)
def the_coordinator_loses_power(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.reboot(bench.coordinator)


@scenario(tier=1)
def the_operators_terminal_is_lost(bench: Bench, chance: random.Random) -> None:
    """The dashboard's line hangs up, and another one is killed."""
    command = [str(Path(sys.executable).with_name("fedtui")), "--home", str(bench.site.path)]
    with Terminal(command) as first, Terminal(command) as second:
        first.until("quit", seconds=60)
        second.until("quit", seconds=60)
        moment(bench, chance)
        first.close()
        bench.note("hangup", "dashboard")
        second.process.kill(signal.SIGKILL)
        bench.note("SIGKILL", "dashboard")
        assert first.ended(30) is not None


@scenario(tier=1)
def a_second_start_is_no_second_agent(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    before = bench.pid(bench.site, "agent")
    bench.note("up again", SITE)
    with contextlib.suppress(OperatorError):
        operations.up(bench.site)
    assert bench.pid(bench.site, "agent") == before


@scenario(tier=1, breaks_hosts=True)
def the_sites_disk_is_full(bench: Bench, chance: random.Random) -> None:
    """Both screens say so while it is; then it goes on by itself."""
    moment(bench, chance)
    here, there = fed.head(bench.coordinator), fed.head(bench.site)
    bench.note("disk full", SITE)
    bench.hosts[SITE].fill()
    bench.told(
        bench.coordinator,
        lambda e: isinstance(e, events.SitesAwaited) and any("disk" in c for c in e.causes),
        here,
    )
    assert orders.order(bench.site, "agent", "status")["storage"]
    bench.hosts[SITE].mend()
    bench.note("disk writes again", SITE)
    bench.told(bench.site, lambda e: isinstance(e, events.StorageAwaited), there)


@scenario(tier=1, breaks_hosts=True)
def the_coordinators_disk_is_full(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    here, there = fed.head(bench.coordinator), fed.head(bench.site)
    bench.note("disk full", COORDINATOR)
    bench.hosts[COORDINATOR].fill()
    bench.told(
        bench.site, lambda e: isinstance(e, events.LinkChanged) and e.code == "storage", there
    )
    bench.hosts[COORDINATOR].mend()
    bench.note("disk writes again", COORDINATOR)
    bench.told(bench.coordinator, lambda e: isinstance(e, events.StorageAwaited), here)


@scenario(tier=1, repeats=2, breaks_hosts=True)
def every_nth_write_fails(bench: Bench, chance: random.Random) -> None:
    """At one host and then at the other, with n drawn, for a few seconds of a run."""
    for number, name in enumerate((SITE, COORDINATOR)):
        bench.round(1 + 4 * number)
        every, code = chance.randint(2, 40), chance.choice((errno.EIO, errno.ENOSPC))
        bench.note(f"each {every}. write fails with {errno.errorcode[code]}", name)
        bench.hosts[name].fail(every, code)
        time.sleep(5.0)
        bench.hosts[name].mend()
        bench.note("disk writes again", name)


@scenario(tier=1, repeats=2, breaks_hosts=True)
def a_clock_jumps(bench: Bench, chance: random.Random) -> None:
    """Ten minutes ahead or back, at the site and then at the coordinator; the site says so."""
    for number, name in enumerate((SITE, COORDINATOR)):
        bench.round(1 + 4 * number)
        seconds = chance.choice((600, -600))
        after = fed.head(bench.site)
        bench.note(f"clock jumps by {seconds} s", name)
        bench.hosts[name].jump(seconds)
        bench.told(
            bench.site,
            lambda e: isinstance(e, events.LinkChanged) and e.code in ("clock", "stale"),
            after,
        )
        bench.hosts[name].mend()
        bench.note("clock is right", name)


def _kill_at_ten_moments(home: str, process: str) -> Act:
    def act(bench: Bench, chance: random.Random) -> None:
        where = bench.coordinator if home == COORDINATOR else bench.site
        moment(bench, chance)
        bench.kill(where, process)

    return act


for _home, _process in (
    (SITE, "agent"), (SITE, "trainer"), (COORDINATOR, "coordinator"), (SITE, "supervisor"),
):  # fmt: skip
    _name = f"{_process}-killed-at-any-moment"
    SCENARIOS[_name] = Scenario(
        name=_name, tier=2, act=_kill_at_ten_moments(_home, _process), repeats=30
    )


@scenario(tier=2, repeats=2)
def a_partition_of_35_s(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.partition(35.0)


@scenario(tier=2)
def a_partition_of_2_minutes(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.partition(120.0)


@scenario(tier=2)
def a_partition_of_10_minutes(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.partition(600.0)


@scenario(tier=2)
def an_agent_stands_still_for_a_minute(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.freeze(bench.site, "agent", 60.0)


@scenario(tier=2)
def the_coordinator_stands_still_for_a_minute(bench: Bench, chance: random.Random) -> None:
    moment(bench, chance)
    bench.freeze(bench.coordinator, "coordinator", 60.0)


@scenario(tier=3, study=fed.study(rounds=10_000))
def ten_thousand_rounds(bench: Bench, chance: random.Random) -> None:
    """Memory of every process after 500 rounds and at the end: flat to a tenth."""
    names = [(bench.coordinator, "coordinator"), (bench.site, "agent"), (bench.site, "trainer")]

    def sizes() -> dict[str, int]:
        found = {}
        for home, process in names:
            pid = bench.pid(home, process)
            fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
            found[process] = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    bench.round(500)
    early = sizes()
    for number in range(1000, 10_000, 500):
        bench.round(number)
        bench.note(f"round {number}", json.dumps(sizes()))
    late = sizes()
    grown = {process: late[process] / early[process] for process in early}
    bench.note("grown", json.dumps({name: round(value, 3) for name, value in grown.items()}))
    assert all(value <= 1.1 for value in grown.values()), grown


@contextlib.contextmanager
def prepared() -> Iterator[Bench]:
    """A warm federation with the numbers of an undisturbed run of the usual study."""
    port = fed.free_port()
    proxy = Proxy(port)
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
    """Run a scenario; returns what does not hold, empty when all does."""
    bench.history, bench.began = [], time.monotonic()
    for host in bench.hosts.values():
        host.mend()
    bench.run = bench.made.start(one.study)
    broken: list[str] = []
    try:
        one.act(bench, random.Random(seed))
        patience = 240.0 if one.tier < 3 else 7200.0
        ended = bench.made.ended(bench.run, seconds=patience)
    except Exception as error:  # the runner's boundary: told as what does not hold
        traceback.print_exc()
        for host in bench.hosts.values():
            host.mend()
        bench.made.idle()
        return [f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
    usual = one.study == STUDY
    broken += invariants.broken(
        bench.made,
        ended,
        weights=bench.weights if usual and one.equal else None,
        rounds=bench.numbers if usual and one.equal else None,
    )
    if broken:
        broken += [
            f"said: {record.event.sentence}"
            for home in bench.made.homes.values()
            for record, _ in records(
                home, events.AnswerRefused, events.WorkFailed, events.RunResumed, run=bench.run
            )
        ]
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tier", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--only", default="", choices=["", *SCENARIOS])
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chosen = [
        s
        for s in SCENARIOS.values()
        if (s.name == asked.only if asked.only else s.tier == asked.tier)
    ]
    failures = 0
    with prepared() as bench:
        for one in chosen:
            if one.breaks_hosts and not bench.hosts:
                print(f"{one.name:<46} SKIPPED: {faulty.MISSING}")
                continue
            for seed in range(asked.seed, asked.seed + (1 if asked.only else one.repeats)):
                broken = carry_out(bench, one, seed)
                failures += bool(broken)
                took = time.monotonic() - bench.began
                verdict = "BROKEN" if broken else "HELD"
                print(f"{one.name:<46} seed {seed:<3} {took:6.1f} s  {verdict}")
                for operation in bench.history if broken else ():
                    print(f"    {operation.at:7.2f} s  {operation.what}  {operation.target}")
                for what in broken:
                    print(f"    {what}")
                if broken:
                    print(f"    again: python -m tests.faults --only {one.name} --seed {seed}")
                sys.stdout.flush()
    print(f"{failures} of the scenarios broke an invariant" if failures else "every invariant held")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
