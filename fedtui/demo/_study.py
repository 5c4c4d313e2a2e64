"""The demo of phase 2: from the proposal to the report, as every hospital's people would do it."""

import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedtui import events, journal, operations
from fedtui.demo._federation import Federation
from fedtui.errors import RunError
from fedtui.events import Event
from fedtui.site import Home

_PATIENCE = 180.0  # seconds; four sites start JAX one after the other on two cores
_AUDIT_SECONDS = 2.0  # of each site's gate: too few patients here for more to tell anything
Say = Callable[[str], None]


def agree(made: Federation, say: Say) -> None:
    """One site proposes, a person at each approves under a key of their own."""
    study = made.study
    told = operations.propose_study(made.coordinator, study)
    say(f"{made.coordinator.path.name} proposes {study.id}, fingerprint {told['fingerprint'][:16]}")

    def approve(name: str) -> None:
        home, person = made.homes[name], study.approvers[name]
        _until(home, lambda e: isinstance(e, events.StudyProposed))
        passphrase = secrets.token_urlsafe(24)  # theirs; nothing needs it again
        operations.create_person(home, person, passphrase)
        operations.approve_study(home, study.id, person=person, passphrase=passphrase)
        say(f"{person} approves for {name}, after the data there were checked against it")

    with ThreadPoolExecutor(2) as pool:  # each reads data in a child with JAX
        list(pool.map(approve, made.homes))
    approved: set[str] = set()

    def all_of_them(event: Event) -> bool:
        if isinstance(event, events.StudyDecided) and event.word == "approve":
            approved.add(event.site)
        return approved == set(study.sites)

    _until(made.coordinator, all_of_them)


def judge(made: Federation, run: str, say: Say, *, to: Path | None) -> list[str]:
    """Validation, the gate at every site, the report; returns the comparison's lines."""
    say("every hospital judges the joint model, and its own, on its own test patients")
    _until(made.coordinator, lambda e: isinstance(e, events.ValidationEnded) and e.run == run)
    for name, home in made.homes.items():
        audited = operations.audit_leakage(home, run, object="global model", seconds=_AUDIT_SECONDS)
        say(f"leakage gate at {name}: {audited.verdict}")
    from fedtui.report import text

    lines = text.comparison(operations.compare(made.coordinator, run))
    if to is not None:
        to.write_text(operations.report_page(made.coordinator, run), encoding="utf-8")
        lines += ["", f"report    {to}"]
    return lines


def narrate(words: str) -> None:
    """One step, on stderr."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201


def _until(home: Home, wanted: Callable[[Event], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    for record in journal.follow(home.journal, stop=lambda: time.monotonic() > end, seconds=0.05):
        if wanted(record.event):
            return
    raise RunError(
        f"{home.path.name} waited {_PATIENCE:.0f} s in vain.",
        remedy="Run the demo again with --keep and read the homes' logs.",
    )
