"""A run followed without a screen: one sentence or one JSON object an event, from its beginning."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

from fedtui import events, journal, processes
from fedtui.errors import UsageError
from fedtui.journal import Journal
from fedtui.record import Record, iso
from fedtui.site import Home, load

# What concerns every run: the link, the sites, and this home's own processes.
_LEVELS = ("INFO", "WARN", "ERROR")
_SURROUNDINGS = (events.SiteSeen, events.LinkChanged, events.ProcessEnded, events.ProcessStarted)


def watch(home: Home, run: str, *, json_: bool) -> int:
    """Print the run's whole history and what follows, until it ends; returns its exit code.

    Raises:
        UsageError: no such run, or none at all, in this home's journal.
    """
    load(home)
    book = Journal(home.journal, source="viewer")
    try:
        start = _start(book, run)
    finally:
        book.close()
    event = start.event
    assert isinstance(event, events.RunSubmitted)
    if not any(processes.running(home, name) for name in ("agent", "coordinator")):
        print(f"Nothing runs in {home.path}: start it with 'fedtui up'.", file=sys.stderr)  # noqa: T201
    for record in journal.follow(home.journal, after=start.seq - 1):
        if getattr(record.event, "run", None) != event.run and not isinstance(
            record.event, _SURROUNDINGS
        ):
            continue
        told = record if json_ else _briefly(record, event.metric)
        print(line(told, json_=json_), flush=True)  # noqa: T201 - results go to stdout
        if isinstance(record.event, events.RunEnded) and record.event.run == event.run:
            return record.event.code
    return 0


def logs(
    home: Home, *, follow: bool, since: float, level: str, json_: bool, to: Callable[[str], None]
) -> int:
    """Hand every record to ``to`` as a line: those since a time and at or above a level.

    Args:
        since: Seconds since 1970.
        level: INFO, WARN or ERROR.
    """
    load(home)
    wanted = _LEVELS[_LEVELS.index(level) :]
    for record in journal.follow(home.journal, stop=lambda: not follow):
        if record.time >= since and record.event.level in wanted:
            to(line(record, json_=json_))
    return 0


def line(record: Record, *, json_: bool) -> str:
    """One record as a line: JSON, or clock, level, process and sentence."""
    if json_:
        return json.dumps(record.line, ensure_ascii=False)
    clock = iso(record.time)[11:19]
    return f"{clock} {record.event.level:<5} {record.event.sentence}"


def _briefly(record: Record, metric: str) -> Record:
    """A round's end with the study's metric and the loss, of all that is measured."""
    event = record.event
    if not isinstance(event, events.RoundEnded):
        return record
    shown = {name: event.metrics[name] for name in (metric, "loss") if name in event.metrics}
    return replace(record, event=replace(event, metrics=shown))


def _start(book: Journal, run: str) -> Record:
    found = [
        record
        for record in book.read()
        if isinstance(record.event, events.RunSubmitted) and run in ("", record.event.run)
    ]
    if not found:
        raise UsageError(
            f"There is no run {run} in this home's journal." if run else "There is no run yet.",
            remedy="See 'fedtui status'; the coordinator starts one with 'fedtui run STUDY'.",
        )
    return found[-1]
