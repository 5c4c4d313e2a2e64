"""Runs survive what the fault runner does to them, and its checker names whatever is lost."""

import copy
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedtui import events
from fedtui.journal import Journal
from fedtui.processes import Lock
from fedtui.site import Home
from tests import faults, invariants
from tests import federation as fed
from tests.faults import Bench
from tests.federation import COORDINATOR, SITE, Federation, records

_QUICK = [
    pytest.param(s, marks=[pytest.mark.slow] if s.slow else [], id=s.name)
    for s in faults.SCENARIOS.values()
    if s.tier == 1
]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with faults.prepared() as made:
        yield made


@pytest.mark.parametrize("scenario", _QUICK)
def test_a_run_loses_nothing(bench: Bench, scenario: faults.Scenario) -> None:
    try:
        broken = faults.carry_out(bench, scenario, seed=1)
    except faults.Skipped as reason:
        pytest.skip(str(reason))

    assert not broken, "\n".join(
        [*(f"{o.at} s {o.what} {o.target}" for o in bench.history), *broken]
    )


# The checker itself: each invariant broken on purpose, in copies of a real federation's homes.


@pytest.fixture
def copied(bench: Bench, tmp_path: Path) -> tuple[Federation, events.RunEnded]:
    """The homes as they stand after a run, without processes, and how that run ended."""
    ended = [e for _, e in records(bench.coordinator, events.RunEnded) if e.outcome == "completed"]
    other = Federation(tmp_path, fed.free_port())
    for name, home in bench.made.homes.items():
        shutil.copytree(home.keys, tmp_path / name / "keys")
        other.homes[name] = Home(tmp_path / name)
        with sqlite3.connect(home.journal) as here:
            there = sqlite3.connect(other.homes[name].journal)
            here.backup(there)
            there.close()
        here.close()
    return other, ended[0]


def told(made: Federation, ended: events.RunEnded, bench: Bench) -> str:
    found = invariants.broken(made, ended, weights=bench.weights, rounds=bench.numbers)
    return "\n".join(found)


def test_the_checker_has_nothing_to_say_of_an_undisturbed_run(
    bench: Bench, copied: tuple[Federation, events.RunEnded]
) -> None:
    assert told(*copied, bench) == ""


def first(made: Federation, kind: type[fed.E], run: str) -> fed.E:
    return records(made.coordinator, kind, run=run)[0][1]


def write(home: Home, event: events.Event) -> None:
    book = Journal(home.journal, source="test")
    book.append(event)
    book.close()


def end_a_round_twice(made: Federation, run: str) -> None:
    write(made.coordinator, first(made, events.RoundEnded, run))


def show_a_site_another_round(made: Federation, run: str) -> None:
    write(made.site, replace(first(made, events.RoundEnded, run), examples=1))


def write_a_checkpoint_anew(made: Federation, run: str) -> None:
    write(made.coordinator, replace(first(made, events.CheckpointWritten, run), sha256="0" * 64))


def ask_again_without_a_death(made: Federation, run: str) -> None:
    write(made.coordinator, first(made, events.PhaseStarted, run))


def change_a_record(made: Federation, _: str) -> None:
    with sqlite3.connect(made.site.journal) as db:
        db.execute("UPDATE record SET body = replace(body, '\"round\":2', '\"round\":3')")
    db.close()


def cut_the_end_off(made: Federation, run: str) -> None:
    """The chain verifies, but is shorter than what the peers hold."""
    with sqlite3.connect(made.site.journal) as db:
        db.execute("DELETE FROM record WHERE seq > 20")
    db.close()


def forge_a_head(made: Federation, run: str) -> None:
    event = first(made, events.HeadWitnessed, run)
    write(made.coordinator, replace(event, head="0" * 64))


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (end_a_round_twice, "I1: rounds ended in the order"),
        (show_a_site_another_round, "I1: halland saw a round"),
        (write_a_checkpoint_anew, "I1: checkpoint-00000.safetensors was written with two"),
        (ask_again_without_a_death, "I2: rounds"),
        (change_a_record, "I3: halland"),
        (cut_the_end_off, "I3: halland's chain lost"),
        (forge_a_head, "is not signed by it"),
    ],
)
def test_what_a_journal_lost_is_named(
    bench: Bench,
    copied: tuple[Federation, events.RunEnded],
    plant: Callable[[Federation, str], None],
    named: str,
) -> None:
    made, ended = copied

    plant(made, ended.run)

    assert named in told(made, ended, bench)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"outcome": "stopped"}, "the run stopped"),
        ({"sha256": "0" * 64}, "I4"),
        ({"cause": ""}, "I6: the end is not named"),
        ({"cause": "an unforeseen KeyError"}, "I6: the end is not named"),
        ({"outcome": "failed", "code": 77}, "I6: exit code 77"),
    ],
)
def test_an_end_that_is_wrong_is_named(
    bench: Bench,
    copied: tuple[Federation, events.RunEnded],
    changes: dict[str, object],
    named: str,
) -> None:
    made, ended = copied
    wrong = replace(ended, **changes)  # type: ignore[arg-type]

    found = invariants.broken(made, wrong, weights=None, rounds=bench.numbers)

    assert named in "\n".join(found)


def test_another_result_is_named(bench: Bench, copied: tuple[Federation, events.RunEnded]) -> None:
    altered = copy.copy(bench)
    altered.weights = bench.weights[:-1] + bytes([bench.weights[-1] ^ 1])
    altered.numbers = [replace(bench.numbers[0], examples=1), *bench.numbers[1:]]

    found = told(*copied, altered)

    assert "I7: the model is not the undisturbed one" in found
    assert "I7: round 1 is not the undisturbed one: examples" in found


def test_what_is_left_after_down_is_named(tmp_path: Path) -> None:
    made = Federation(tmp_path, fed.free_port(), {SITE: Home(tmp_path / SITE)})
    made.site.path.mkdir()
    assert fed.left_over(made) == []
    lock = Lock(made.site, "agent")
    words = [sys.executable, "-c", "input()", str(tmp_path)]
    with (
        socket.create_server(("127.0.0.1", made.port)),
        subprocess.Popen(words, stdin=subprocess.PIPE) as orphan,
    ):
        (made.site.state / "agent.sock").touch()
        found = "\n".join(fed.left_over(made))
        assert orphan.stdin is not None
        orphan.stdin.close()
    lock.release()

    for what in (f"process {orphan.pid}", "agent.sock", "lock of the agent", f"port {made.port}"):
        assert what in found
    assert COORDINATOR not in found
