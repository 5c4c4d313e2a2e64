"""Kills at ten moments of a run, each told by the journals: of every process, and of a dashboard.

The instants between two steps of a process, which nobody outside can hit, are ``test_recovery``'s.
"""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from fedtui import events
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.site import Home
from tests import federation as fed
from tests.fault_bench import SCENARIOS, Act, Bench, Scenario
from tests.terminal import Terminal

ROUNDS = 5
STUDY = fed.study(
    id="killed", rounds=ROUNDS, training={"learning_rate": 0.1, "batch": 32, "epochs": 300}
)
SEEDS = 3
_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant of a run, as a journal tells it.

    Attributes:
        is_now: Whether an event of the run says so, for a round.
        at_site: Whether the site's journal does, else the coordinator's.
        round: Of which round; None lets the seed choose.
    """

    name: str
    is_now: Callable[[Event, int], bool]
    at_site: bool = False
    round: int | None = None


def _phase(event: Event, round: int, phase: str, kind: type[Event]) -> bool:
    found = (getattr(event, "round", None), getattr(event, "phase", None))
    return isinstance(event, kind) and found == (round, phase)


def _of_round(event: Event, round: int, kind: type[Event]) -> bool:
    return isinstance(event, kind) and getattr(event, "round", None) == round


MOMENTS = (
    Moment(
        "all-are-asked-to-prepare",
        partial(_phase, phase="prepare", kind=events.PhaseStarted),
        round=0,
    ),
    Moment(
        "the-first-round-is-asked",
        partial(_phase, phase="train", kind=events.PhaseStarted),
        round=1,
    ),
    Moment(
        "work-comes",
        partial(_phase, phase="train", kind=events.WorkReceived),
        at_site=True,
    ),
    Moment(
        "training-is-under-way",
        partial(_of_round, kind=events.TrainingProgressed),
        at_site=True,
    ),
    Moment(
        "its-answer-is-sent",
        partial(_phase, phase="train", kind=events.WorkAnswered),
        at_site=True,
    ),
    Moment(
        "an-answer-is-taken",
        partial(_phase, phase="train", kind=events.AnswerReceived),
    ),
    Moment(
        "a-checkpoint-is-written",
        partial(_of_round, kind=events.CheckpointWritten),
    ),
    Moment(
        "evaluation-is-asked",
        partial(_phase, phase="evaluate", kind=events.PhaseStarted),
    ),
    Moment(
        "a-round-ends",
        partial(_of_round, kind=events.RoundEnded),
    ),
    Moment(
        "the-last-round-ends",
        partial(_of_round, kind=events.RoundEnded),
        round=ROUNDS,
    ),
)


def reach(bench: Bench, moment: Moment, chance: Random, idle: Callable[[], object]) -> None:
    """Wait for a moment of the run, and a little; notes what had come last by then."""
    round = chance.randint(2, ROUNDS - 1) if moment.round is None else moment.round
    home, after = (bench.site, bench.there) if moment.at_site else (bench.coordinator, bench.before)
    book = Journal(home.journal, source="test")
    try:
        end = time.monotonic() + _WAIT_SECONDS
        reached = False
        while not reached:
            assert time.monotonic() < end, f"{moment.name} of round {round} never came"
            for record in book.read(after):
                after = record.seq
                mine = getattr(record.event, "run", "") == bench.run
                reached |= mine and moment.is_now(record.event, round)
            idle()
        time.sleep(chance.uniform(0.0, 0.05))
        bench.note(f"round {round}, {moment.name}; last: {_last(book)}", home.path.name)
    finally:
        book.close()


def _last(book: Journal) -> str:
    return book.read(book.head()[0] - 1)[-1].event.sentence


def _pause() -> None:
    time.sleep(0.004)


def _whose(bench: Bench, seed_draw: Random) -> Home:
    """Mostly the site's; the coordinator's own site is one as well."""
    return bench.coordinator if seed_draw.random() < 0.3 else bench.site


@contextlib.contextmanager
def _warm(bench: Bench) -> Iterator[None]:
    bench.warm()
    yield


def _killing(process: str, moment: Moment) -> Act:
    def act(bench: Bench, chance: Random) -> None:
        home = bench.coordinator if process == "coordinator" else _whose(bench, chance)
        pid = bench.pid(home, process)
        assert pid is not None, f"there is no {process} to kill"
        reach(bench, moment, chance, _pause)
        os.kill(pid, signal.SIGKILL)
        bench.note("SIGKILL", f"{process} of {home.path.name}")

    return act


_OPEN: dict[str, Terminal] = {}


def _dashboard(home: Home) -> Terminal:
    command = [str(Path(sys.executable).with_name("fedtui")), "--home", str(home.path)]
    return Terminal(command, columns=120, rows=36)


@contextlib.contextmanager
def _watched(bench: Bench) -> Iterator[None]:
    """With a dashboard at either home."""
    bench.warm()
    with _dashboard(bench.site) as there, _dashboard(bench.coordinator) as here:
        for terminal in (there, here):
            terminal.until("quit", seconds=60)
        _OPEN.update({bench.site.path.name: there, bench.coordinator.path.name: here})
        yield
        _OPEN.clear()


def _killing_a_dashboard(moment: Moment) -> Act:
    """The next one shows what the journal says: the run, then all its rounds and its end."""

    def act(bench: Bench, chance: Random) -> None:
        home = _whose(bench, chance)
        terminal = _OPEN[home.path.name]
        reach(bench, moment, chance, lambda: [t.read(0.002) for t in _OPEN.values()])
        terminal.process.kill(signal.SIGKILL)
        bench.note("SIGKILL", f"dashboard of {home.path.name}")
        assert terminal.ended(30) == -signal.SIGKILL
        with _dashboard(home) as second:
            second.until("quit", seconds=60)
            second.until(lambda: f"/{ROUNDS}" in second.text, seconds=60)
            first_look = _round_shown(second.text)
            ended = bench.made.ended(bench.run, seconds=120)
            second.until(lambda: _round_shown(second.text) == ROUNDS, seconds=60)
            second.until(lambda: ended.outcome in second.text.lower(), seconds=60)
            bench.note(f"shown at first: round {first_look}", "new dashboard")

    return act


def _round_shown(text: str) -> int:
    found = re.search(rf"(\d+) ?/ ?{ROUNDS}\b", text)
    return int(found[1]) if found else -1


for _moment in MOMENTS:
    for _process in ("agent", "trainer", "coordinator"):
        _name = f"{_process}-killed-when-{_moment.name}"
        SCENARIOS[_name] = Scenario(
            name=_name, tier=2, act=_killing(_process, _moment), around=_warm, repeats=SEEDS,
            study=STUDY,
        )  # fmt: skip
    _name = f"dashboard-killed-when-{_moment.name}"
    SCENARIOS[_name] = Scenario(
        name=_name, tier=2, act=_killing_a_dashboard(_moment), around=_watched, repeats=SEEDS,
        study=STUDY,
    )  # fmt: skip
    _name = f"supervisor-killed-when-{_moment.name}"
    SCENARIOS[_name] = Scenario(
        name=_name, tier=2, act=_killing("supervisor", _moment), around=_warm, study=STUDY
    )
