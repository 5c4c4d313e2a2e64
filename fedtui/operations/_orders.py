"""Orders to a home's processes: up, down, and what the coordinator is told to do."""

import os
import sys
from typing import NoReturn

from fedtui import mounts, orders, processes, site, study
from fedtui.journal import Journal
from fedtui.operations._homes import coordinating
from fedtui.site import Home
from fedtui.study import Study


def up(home: Home) -> tuple[str, ...]:
    """Start the home's processes, detached, and wait until they take orders; returns which.

    Raises:
        OperatorError: what keeps one from starting, e.g. NetworkError for a port in use.
    """
    roles = _startable(home)
    processes.start(home, roles=roles)
    return roles


def answering(home: Home) -> tuple[str, ...]:
    """Which of the home's processes run and take orders now."""
    return tuple(name for name in ("coordinator", "agent") if orders.answers(home, name))


def serve(home: Home, *, json_: bool = False) -> NoReturn:
    """Become the home's supervisor in this very process: it stays, and takes its children along.

    Raises:
        OperatorError: what stands in the way before anything is started.
    """
    roles = _startable(home)
    site.check_socket_path(home)
    words = [str(home.path), *(("--json",) if json_ else ()), *roles]
    command = [sys.executable, "-P", "-m", processes.MODULES["supervisor"], *words]
    os.chdir(home.path)
    # Replaced, not called: the supervisor of a service is as small as a detached one.
    os.execve(sys.executable, command, processes.environment(home))


def _startable(home: Home) -> tuple[str, ...]:
    own = site.load(home)
    Journal(home.journal, source="operator").close()  # a broken or foreign one is named here
    mounts.refuse_unsound(home.path)
    if own.trains:
        site.load_membership(home)
    if home.ended.exists():
        raise site.ended_error(home)
    return (("coordinator",) if own.coordinates else ()) + (("agent",) if own.trains else ())


def down(home: Home) -> bool:
    """Stop the home's processes; a run goes on when they are up again. Returns whether any ran."""
    site.load(home)
    return processes.stop(home)


def run(home: Home, agreed: Study, *, alone: str = "") -> str:
    """Submit a study to this home's coordinator; returns the run's id.

    Raises:
        UsageError: this home coordinates nothing, or the study names what does not exist.
        BusyError: another run is not over.
    """
    coordinating(home)
    text = study.canonical(agreed).decode()
    answer = orders.order(home, "coordinator", "run", study=text, alone=alone)
    return str(answer["run"])


def stop(home: Home, run_id: str = "") -> str:
    """End the run under way before its time; returns its id."""
    coordinating(home)
    return str(orders.order(home, "coordinator", "stop", run=run_id)["run"])


def rotate(home: Home) -> dict[str, str]:
    """Have this home's agent change the site's key; returns the fingerprints: key, old.

    Raises:
        UsageError: the agent is not running.
        NetworkError: the coordinator was not reached; the old key goes on.
    """
    site.load(home)
    answer = orders.order(home, "agent", "rotate")
    return {name: str(answer[name]) for name in ("key", "old")}


def pause(home: Home, run_id: str = "", *, paused: bool) -> str:
    """Hold the run under way between two exchanges, or let it go on; returns its id."""
    coordinating(home)
    name = "pause" if paused else "resume"
    return str(orders.order(home, "coordinator", name, run=run_id)["run"])
