"""A whole federation on one machine: a script over the operations that an operator uses.

DecAIHealth's own first example by default: handwritten digits, even ones at one hospital and odd
ones at the other. Each site has its own home, keys, journal and processes; nothing is simulated.
"""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from fedtui import events, journal, operations
from fedtui.demo import _study
from fedtui.demo._federation import Federation, federation
from fedtui.demo._plans import Plan, settled
from fedtui.demo._telling import (
    JsonTeller,
    Outcome,
    PlainTeller,
    Teller,
    announce,
    summary,
    table,
    traffic,
)
from fedtui.errors import RunError
from fedtui.events import RoundEnded
from fedtui.journal import Journal
from fedtui.progress import Progress, RunProgress, advance
from fedtui.site import Home

__all__ = ["Plan", "show"]

T = TypeVar("T")
_NEWS_SECONDS = 10.0  # sites hear the news once a second


def show(plan: Plan, *, json_: bool, screen: Callable[[Home], int] | None = None) -> int:
    """Run the demo with a line a round (or JSON lines) on stdout; returns the exit code.

    Args:
        screen: Opens the dashboard on a home until the operator leaves it; the federation runs
            on meanwhile and afterwards.

    Raises:
        OperatorError: what kept it from running; everything is cleaned up.
    """
    plan = settled(plan)
    if plan.agreed:
        return _show_study(plan, json_=json_, screen=screen)
    if not json_:
        announce(plan)
    with _terminable(), federation(plan) as made:
        teller = JsonTeller() if json_ else PlainTeller(made, plan)
        with contextlib.closing(teller):
            if screen is None:
                alone, joint = _carry_out_all(made, teller)
            else:
                teller.hold()
                runs: Future[tuple[dict[str, RoundEnded], RunProgress]] = Future()
                work = partial(_carry_out_all, made, teller)
                # A daemon, since leaving the demo must not wait for its runs.
                threading.Thread(target=_fulfil, args=(runs, work), daemon=True).start()
                if code := screen(list(made.homes.values())[-1]):
                    raise SystemExit(code)
                teller.release()
                alone, joint = runs.result()
        outcome = Outcome(joint=joint, alone=alone, bytes=traffic(made, joint.run))
        if json_:
            print(json.dumps({"schema": 1, "summary": summary(made, outcome, plan)}))  # noqa: T201
        else:
            print(table(made, outcome, plan))  # noqa: T201
    return 0


def _show_study(plan: Plan, *, json_: bool, screen: Callable[[Home], int] | None) -> int:
    """The whole way of a study; the dashboard, if wanted, shows it from the last hospital."""
    with _terminable(), federation(plan) as made:
        teller = JsonTeller() if json_ else PlainTeller(made, plan)
        say = _study.narrate if screen is None else lambda _: None
        report = plan.home / "report.html" if plan.home is not None else None

        def work() -> tuple[RunProgress, list[str]]:
            _study.agree(made, say)
            run = carry_out(made, "", teller)
            return run, _study.judge(made, run.run, say, to=report)

        with contextlib.closing(teller):
            if screen is None:
                run, lines = work()
            else:
                teller.hold()
                done: Future[tuple[RunProgress, list[str]]] = Future()
                threading.Thread(target=_fulfil, args=(done, work), daemon=True).start()
                if code := screen(list(made.homes.values())[-1]):
                    raise SystemExit(code)
                teller.release()
                run, lines = done.result()
        if json_:
            found = operations.compare(made.coordinator, run.run)
            print(json.dumps({"schema": 1, **operations.comparison_document(found)}))  # noqa: T201
        else:
            print("\n".join(["", *lines]))  # noqa: T201
    return 0


def carry_out(made: Federation, alone: str, teller: "Teller") -> RunProgress:
    """Submit the study (with one site ``alone`` training, or all), follow it to its end.

    Raises:
        RunError: the run failed.
    """
    book = Journal(made.coordinator.journal, source="viewer")
    after = book.head()[0]
    book.close()
    run = operations.run(made.coordinator, made.study, alone=alone)
    state = Progress()
    for record in journal.follow(made.coordinator.journal, after=after, seconds=0.05):
        state = advance(state, record)
        teller.tell(record, state.runs.get(run), alone)
        if isinstance(record.event, events.RunEnded) and record.event.run == run:
            if record.event.outcome != "completed":
                raise RunError(
                    f"Run {run} {record.event.outcome}: {record.event.cause}",
                    remedy="Run the demo again with --keep and read the homes' logs.",
                )
            break
    return state.runs[run]


def _await_end(home: Home, run: str) -> None:
    """Wait until the news of the run's end is in this site's own journal, at most 10 s."""
    until = time.monotonic() + _NEWS_SECONDS
    for record in journal.follow(home.journal, stop=lambda: time.monotonic() > until):
        if isinstance(record.event, events.RunEnded) and record.event.run == run:
            return


def _fulfil(promise: Future[T], work: Callable[[], T]) -> None:
    try:
        promise.set_result(work())
    except Exception as error:  # handed to the thread that asks for the result
        promise.set_exception(error)


def _carry_out_all(made: Federation, teller: "Teller") -> tuple[dict[str, RoundEnded], RunProgress]:
    """Each site alone with the same budget, then all together."""
    alone = {name: carry_out(made, name, teller).history[-1] for name in made.homes}
    joint = carry_out(made, "", teller)
    for home in made.homes.values():
        _await_end(home, joint.run)
    return alone, joint


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind like Ctrl-C, so that the processes of the demo end too."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in old.items():
            signal.signal(number, action)
