"""Faults that take minutes, and hours: long partitions, processes that stand still, the soak."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from fedtui import events
from fedtui.study import Quorum
from tests import federation as fed
from tests.fault_bench import Bench, moment, scenario
from tests.federation import SITE, records


@scenario(tier=2, repeats=2)
def a_partition_of_35_s(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.partition(35.0)


@scenario(tier=2)
def a_partition_of_2_minutes(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.partition(120.0)


@scenario(tier=2)
def a_partition_of_10_minutes(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.partition(600.0)


@scenario(tier=2)
def an_agent_stands_still_for_a_minute(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.freeze(bench.site, "agent", 60.0)


@scenario(tier=2)
def the_coordinator_stands_still_for_a_minute(bench: Bench, chance: Random) -> None:
    moment(bench, chance)
    bench.freeze(bench.coordinator, "coordinator", 60.0)


@contextlib.contextmanager
def _over_a_slow_line(bench: Bench) -> Iterator[None]:
    """1 Mbit/s and 300 ms there and back, for this site alone."""
    bench.proxy.narrow(125_000, 0.15)
    try:
        yield
    finally:
        bench.proxy.narrow(0.0, 0.0)


@scenario(
    tier=3,
    around=_over_a_slow_line,
    study=fed.study(
        id="slow",
        rounds=1,
        parameters={"hidden": [3_700, 3_700]},
        training={"learning_rate": 0.001, "batch": 600},
        quorum=Quorum(deadline_seconds=4 * 3600.0),
    ),
    equal=False,
    patience=3600.0,
)
def a_slow_line(bench: Bench, chance: Random) -> None:
    """56 MB take 7.5 minutes each way: nothing gives up meanwhile, and nothing is sent twice."""
    bench.round(1, seconds=2 * 3600.0)
    work = {e.phase: e for _, e in records(bench.site, events.WorkAnswered, run=bench.run)}
    for phase, told in work.items():
        seconds = {name: round(value) for name, value in told.seconds.items()}
        bench.note(f"{phase}: {told.bytes_received} in, {told.bytes_sent} out, {seconds}", SITE)
    bench.note(f"{bench.proxy.carried} bytes in all", "line")
    asked = records(bench.coordinator, events.PhaseStarted, run=bench.run)
    assert len(asked) == 3, "something was asked again"
    changes = records(bench.site, events.LinkChanged, after=bench.there)
    assert not [e for _, e in changes if not e.up], "the link was called down"


@scenario(tier=3, study=fed.study(id="soak", rounds=10_000), equal=False, patience=7200.0)
def ten_thousand_rounds(bench: Bench, chance: Random) -> None:
    """Memory of every process after 500 rounds and at the end: flat to a tenth."""
    names = [(bench.coordinator, "coordinator"), (bench.site, "agent"), (bench.site, "trainer")]

    def sizes() -> dict[str, int]:
        found = {}
        for home, process in names:
            pid = bench.pid(home, process)
            fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
            found[process] = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        return found

    bench.round(500, seconds=1800.0)
    late = early = sizes()
    print("after round 500:", json.dumps(early), flush=True)
    for number in range(1000, 10_000, 500):
        bench.round(number, seconds=1800.0)
        late = sizes()
        print(f"after round {number}:", json.dumps(late), flush=True)
    grown = {process: late[process] / early[process] for process in early}
    bench.note("grown", json.dumps({name: round(value, 3) for name, value in grown.items()}))
    assert all(value <= 1.1 for value in grown.values()), grown
