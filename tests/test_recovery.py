"""Every process of a federation may be killed at any instant: the run goes on by itself."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fedtui import events, operations, orders, processes
from fedtui.flower import crash
from fedtui.site import Home
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, Proxy, records, until

ROUNDS = 8
AT = {
    "coordinator.asked": 2,
    "coordinator.received": 3,
    "coordinator.aggregated": 4,
    "coordinator.checkpointing": 5,
    "coordinator.evaluating": 6,
    "agent.pulled": 2,
    "agent.persisted": 3,
    "agent.answered": 4,
    "agent.pushing": 5,
    "trainer.training": 6,
    "trainer.evaluating": 7,
}
STUDY = fed.study(rounds=ROUNDS)
RESUMED_SECONDS = 10.0  # the promise, from the process being back


@dataclass
class Rehearsal:
    """A warm federation whose crash points are armed by removing their markers."""

    federation: Federation
    proxy: Proxy
    weights: bytes = b""
    numbers: list[events.RoundEnded] = field(default_factory=list)

    def marker(self, point: str) -> Path:
        return self.federation.folder / point

    def arm(self, *points: str) -> None:
        for point in points:
            self.marker(point).unlink()


def rounds_of(made: Federation, run: str) -> list[events.RoundEnded]:
    """Every round's numbers, without the times that no two runs share."""
    found = records(made.coordinator, events.RoundEnded, run=run)
    return [replace(event, run="", seconds={}) for _, event in found]


@pytest.fixture(scope="module")
def warm() -> Iterator[Rehearsal]:
    port = fed.free_port()
    proxy = Proxy(port)
    try:
        with fed.homes(COORDINATOR, SITE, port=port, dial=f"127.0.0.1:{proxy.port}") as made:
            rehearsal = Rehearsal(made, proxy)
            for point in AT:
                rehearsal.marker(point).touch()
            for name, who in ((COORDINATOR, ("coordinator",)), (SITE, ("agent", "trainer"))):
                here = {p: r for p, r in AT.items() if p.split(".")[0] in who}
                made.up(name, crash={f"{p}@{r}": rehearsal.marker(p) for p, r in here.items()})
            for name in made.homes:
                made.linked(name)
            undisturbed = made.run(STUDY)
            rehearsal.weights = fed.weights(undisturbed)
            rehearsal.numbers = rounds_of(made, undisturbed.run)
            yield rehearsal
    finally:
        proxy.close()


@pytest.fixture
def rehearsal(warm: Rehearsal) -> Iterator[Rehearsal]:
    yield warm
    for point in AT:
        warm.marker(point).touch()
    warm.federation.idle()


def pid_of(home: Home, process: str) -> int:
    if process == "trainer":
        return int(orders.order(home, "agent", "status")["trainer"])
    pid = processes.running(home, process)
    assert pid is not None
    return pid


def assert_undisturbed(rehearsal: Rehearsal, run: str, *, repeated: set[int]) -> None:
    """The run ended with the very bits of an undisturbed one, and repeated only these rounds."""
    ended = rehearsal.federation.ended(run, seconds=150)
    coordinator, site = rehearsal.federation.coordinator, rehearsal.federation.site
    assert ended.outcome == "completed", ended.cause
    assert fed.weights(ended) == rehearsal.weights
    asked = Counter(
        (e.round, e.phase) for _, e in records(coordinator, events.PhaseStarted, run=run)
    )
    assert max(asked.values()) <= 2
    assert {round for (round, _), times in asked.items() if times > 1} <= repeated
    assert rounds_of(rehearsal.federation, run) == rehearsal.numbers
    for home in (coordinator, site):
        got = Counter((e.round, e.phase) for _, e in records(home, events.WorkReceived, run=run))
        assert {round for (round, _), times in got.items() if times > 1} <= repeated
        assert max(got.values()) <= 2


def seconds_to_resume(home: Home, process: str, run: str, *, after: int) -> list[float]:
    """From each later start of ``process`` to the next step of the run's work, by the journal."""
    found = []
    steps = (
        events.WorkReceived,
        events.WorkAnswered,
        events.PhaseStarted,
        events.AnswerReceived,
        events.RoundEnded,
        events.RunEnded,
        events.TrainingProgressed,
    )
    work = [r for r, _ in records(home, *steps, run=run, after=after)]
    for record, started in records(home, events.ProcessStarted, after=after):
        if started.process == process:
            found.append(min(r.time for r in work if r.seq > record.seq) - record.time)
    return found


@pytest.mark.parametrize(
    ("process", "points"),
    [
        ("coordinator", ("coordinator.asked", "coordinator.received")),
        pytest.param(
            "coordinator",
            ("coordinator.aggregated", "coordinator.checkpointing"),
            marks=pytest.mark.slow,
        ),
        pytest.param("coordinator", ("coordinator.evaluating",), marks=pytest.mark.slow),
        pytest.param("agent", ("agent.pulled", "agent.persisted"), marks=pytest.mark.slow),
        pytest.param("agent", ("agent.answered", "agent.pushing"), marks=pytest.mark.slow),
        ("trainer", ("trainer.training", "trainer.evaluating")),
    ],
)
def test_a_run_survives_a_kill_between_any_two_steps(
    rehearsal: Rehearsal, process: str, points: tuple[str, ...]
) -> None:
    made = rehearsal.federation
    home = made.coordinator if process == "coordinator" else made.site
    os.kill(pid_of(home, "supervisor"), signal.SIGKILL)  # the next one starts patient again
    after = fed.head(home)
    until(home, lambda e: isinstance(e, events.ProcessStarted) and e.process == "supervisor",
          after=after)  # fmt: skip
    rehearsal.arm(*points)

    run = made.start(STUDY)

    assert_undisturbed(rehearsal, run, repeated={AT[point] for point in points})
    assert all(rehearsal.marker(point).exists() for point in points)
    deaths = [e for _, e in records(home, events.ProcessEnded, after=after) if e.process == process]
    assert len(deaths) == len(points)
    resumed = seconds_to_resume(home, process, run, after=after)
    assert len(resumed) == len(points)
    assert max(resumed) < RESUMED_SECONDS


def test_every_crash_point_is_rehearsed() -> None:
    assert set(AT) == set(crash.POINTS) - {"trainer.validating"}  # see test_validation


@pytest.mark.parametrize(
    "process",
    [
        pytest.param("agent", marks=pytest.mark.slow),
        pytest.param("trainer", marks=pytest.mark.slow),
        pytest.param("coordinator", marks=pytest.mark.slow),
        "supervisor",
    ],
)
def test_an_idle_process_that_is_killed_comes_back_and_works(
    rehearsal: Rehearsal, process: str
) -> None:
    made = rehearsal.federation
    home = made.coordinator if process == "coordinator" else made.site
    after = fed.head(home)

    os.kill(pid_of(home, process), signal.SIGKILL)
    run = "" if process == "coordinator" else made.start(STUDY)
    until(home, lambda e: isinstance(e, events.ProcessStarted) and e.process == process,
          after=after)  # fmt: skip
    if not run:
        fed.answering(home, process)
        run = made.start(STUDY)

    assert_undisturbed(rehearsal, run, repeated=set(range(ROUNDS + 1)))


def test_a_run_survives_a_network_that_goes_and_comes_back(rehearsal: Rehearsal) -> None:
    made = rehearsal.federation
    here, there = fed.head(made.coordinator), fed.head(made.site)
    run = made.start(STUDY)
    until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)

    rehearsal.proxy.cut()
    try:
        until(made.site, lambda e: isinstance(e, events.LinkChanged) and not e.up, after=there)
        until(
            made.coordinator,
            lambda e: isinstance(e, events.SiteSeen) and e.site == SITE and not e.here,
            after=here,
        )
        until(made.coordinator, lambda e: isinstance(e, events.SitesAwaited), after=here)
    finally:
        rehearsal.proxy.restore()

    assert_undisturbed(rehearsal, run, repeated=set(range(ROUNDS + 1)))


# Seconds: past a site's silence (5) and a request's patience (10), and far past both.
@pytest.mark.parametrize(
    ("process", "seconds"),
    [
        pytest.param("coordinator", 12, marks=pytest.mark.slow),
        pytest.param("agent", 20, marks=pytest.mark.slow),
        pytest.param("coordinator", 35, marks=pytest.mark.slow),
    ],
)
def test_a_run_survives_a_process_that_stands_still(
    rehearsal: Rehearsal, process: str, seconds: float
) -> None:
    made = rehearsal.federation
    home = made.coordinator if process == "coordinator" else made.site
    run = made.start(STUDY)
    until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)
    pid = pid_of(home, process)

    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)  # standing still is what is tested
    finally:
        os.kill(pid, signal.SIGCONT)

    assert_undisturbed(rehearsal, run, repeated=set(range(ROUNDS + 1)))


def test_a_run_goes_on_after_down_and_up(rehearsal: Rehearsal) -> None:
    made = rehearsal.federation
    run = made.start(STUDY)
    until(made.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)

    operations.down(made.coordinator)
    made.up(COORDINATOR)

    assert_undisturbed(rehearsal, run, repeated=set(range(ROUNDS + 1)))
    assert records(made.coordinator, events.RunResumed, run=run)
