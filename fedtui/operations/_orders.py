"""Orders to a home's processes: up, down, and what the coordinator is told to do."""

from fedtui import journal, orders, processes, site, study
from fedtui.journal import Journal
from fedtui.operations._homes import coordinating
from fedtui.site import Home
from fedtui.study import Study


def up(home: Home) -> tuple[str, ...]:
    """Start the home's processes, detached, and wait until they take orders; returns which.

    Raises:
        OperatorError: what keeps one from starting, e.g. NetworkError for a port in use.
    """
    own = site.load(home)
    Journal(home.journal, source="operator").close()  # a broken or foreign one is named here
    journal.refuse_unsound_file_system(home.path)
    if own.trains:
        site.load_membership(home)
    roles = (("coordinator",) if own.coordinates else ()) + (("agent",) if own.trains else ())
    processes.start(home, roles=roles)
    return roles


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


def pause(home: Home, run_id: str = "", *, paused: bool) -> str:
    """Hold the run under way between two exchanges, or let it go on; returns its id."""
    coordinating(home)
    name = "pause" if paused else "resume"
    return str(orders.order(home, "coordinator", name, run=run_id)["run"])
