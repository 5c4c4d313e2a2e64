"""What a home's journal tells: status, runs, exports, monitoring."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import processes, progress, site
from fedtui.errors import (
    BusyError,
    NetworkError,
    OperatorError,
    RunError,
    TrustError,
    UsageError,
)
from fedtui.journal import Journal
from fedtui.progress import BELONGING, Progress, RunProgress
from fedtui.record import iso
from fedtui.site import Home, Site

if TYPE_CHECKING:
    from fedtui.export import Verdict


def known(home: Home) -> Progress:
    """Everything that the journal tells, folded."""
    site.load(home)
    book = Journal(home.journal, source="viewer")
    try:
        return _folded(book)
    finally:
        book.close()


def _folded(book: Journal) -> Progress:
    return progress.fold(record for batch in book.outline() for record in batch)


def status(home: Home) -> dict[str, Any]:
    """One JSON document about the home: processes, link, sites, the run under way."""
    own = site.load(home)
    state = known(home)
    alive = {
        name: pid
        for name in ("supervisor", "coordinator", "agent")
        if (pid := processes.running(home, name)) is not None
    }
    ended = home.ended.exists()
    # Of an agent that is gone the journal's last word may be hours old.
    current = ended or (state.link is False and "agent" in alive)
    document: dict[str, Any] = {
        "schema": 1,
        "site": own.name,
        "roles": list(own.roles),
        "home": str(home.path),
        "processes": alive,
        "link": "ended" if ended else _link(state, alive),
        "link_cause": state.link_cause if current else "",
        "run": _run_document(home, own, state),
    }
    for name in ("coordinator", "agent"):
        if name in alive:
            from fedtui import orders

            if orders.answers(home, name):
                document[name] = orders.order(home, name, "status")
    return document


def runs(home: Home) -> list[dict[str, Any]]:
    """Every run in the journal, oldest first; 'file' is this home's own, where it has the model."""
    own = site.load(home)
    return [
        {
            "run": run.run,
            "study": run.study,
            "state": run.state,
            "rounds_done": len(run.history),
            "rounds": run.rounds,
            "submitted": iso(run.submitted),
            "metric": run.metric,
            "value": run.history[-1].metrics.get(run.metric) if run.history else None,
            "file": _model(home, own, run),
        }
        for run in known(home).runs.values()
    ]


def export_run(home: Home, run_id: str, to: Path) -> list[Path]:
    """Write a run (default: the last one) into the folder ``to``; returns the files.

    Raises:
        UsageError: no such run, or the folder is not empty.
    """
    from fedtui import export

    own = site.load(home)
    book = Journal(home.journal, source="operator")
    try:
        if not run_id:
            last = _folded(book).run
            if last is None:
                raise UsageError("There is no run yet.", remedy="See 'fedtui status'.")
            run_id = last.run
        folder = home.runs / run_id / "run.json"
        agreed = json.loads(folder.read_bytes())["study"] if folder.exists() else None
        return export.write(book, run_id, to, site=own.name, study=agreed)
    finally:
        book.close()


def verify_export(folder: Path, home: Home | None, signer: Path | None = None) -> "Verdict":
    """Check an export, against the heads and keys that ``home`` keeps where one is given.

    Args:
        signer: A site's public key in PEM, for a bundle of a site that no home here knows.

    Raises:
        RunError: it was changed, or nobody known signed it.
        DataError: it is no export.
    """
    from fedtui import export, keys, modelfile

    known: dict[str, tuple[keys.PublicKey, ...]] = {}
    if home is not None and home.journal.exists():
        known |= modelfile.known_keys(home)
    if signer is not None:
        known[""] = (keys.load_public(signer.read_bytes(), name=signer.name),)
    if home is None or not home.journal.exists():
        return export.verify(folder, witness=None, known=known)
    book = Journal(home.journal, source="viewer")
    try:
        return export.verify(folder, witness=book, known=known)
    finally:
        book.close()


def openmetrics(home: Home) -> str:
    """The home's state for a monitoring system, in OpenMetrics text."""
    own = site.load(home)
    state = known(home)
    run = state.run
    last = run.history[-1] if run and run.history else None
    values: list[tuple[str, str, dict[str, str], float]] = [
        (
            "fedtui_link_up",
            "Whether this site reaches the coordinator.",
            {},
            float(bool(state.link)),
        ),
        (
            "fedtui_last_news_seconds",
            "When the journal was last written, since 1970.",
            {},
            state.time,
        ),
        ("fedtui_disk_free_bytes", "Free space under the home.", {}, _free(home)),
    ]
    for name in ("supervisor", "coordinator", "agent"):
        up_now = float(processes.running(home, name) is not None)
        values.append(("fedtui_process_up", "Whether a process runs.", {"process": name}, up_now))
    certificate = home.keys / "server.pem"
    if certificate.exists():
        from fedtui import certificates

        days = certificates.days_left(certificate)
        values.append(("fedtui_certificate_days", "Days until it expires.", {}, round(days, 1)))
    if run is not None:
        of = {"run": run.run}
        values.append(("fedtui_round", "The round under way or last.", of, float(run.round)))
        values.append(("fedtui_rounds", "How many were agreed.", of, float(run.rounds)))
        values.append(("fedtui_run_over", "Whether the run has ended.", of, float(run.over)))
        failed = float(run.state == "FAILED")
        values.append(("fedtui_run_failed", "Whether the last run failed.", of, failed))
        for name, value in (last.metrics if last else {}).items():
            labels = {**of, "metric": name}
            values.append(("fedtui_metric", "Joint metric of the last round.", labels, value))
    return _openmetrics_text(values, own.name)


def _openmetrics_text(values: list[tuple[str, str, dict[str, str], float]], name: str) -> str:
    lines: list[str] = []
    told: set[str] = set()
    for family, about, labels, value in values:
        if family not in told:
            told.add(family)
            lines += [f"# TYPE {family} gauge", f"# HELP {family} {about}"]
        shown = ",".join(f'{key}="{text}"' for key, text in {"site": name, **labels}.items())
        lines.append(f"{family}{{{shown}}} {value!r}")
    return "\n".join([*lines, "# EOF", ""])


def _free(home: Home) -> float:
    place = os.statvfs(home.path)
    return float(place.f_bavail * place.f_frsize)


def health(home: Home) -> OperatorError | None:
    """What an operator should be woken for, the gravest first; None when all is well."""
    wanted = processes.wanted(home)
    state = known(home)
    if home.ended.exists():
        return site.ended_error(home)
    if missing := [name for name in wanted if processes.running(home, name) is None]:
        return BusyError(
            f"Not running: {', '.join(missing)}.", remedy=f"Read {home.log(missing[0])}."
        )
    if not wanted:
        return BusyError("Nothing runs here.", remedy="Start it with 'fedtui up'.")
    if state.link is False and state.link_code in BELONGING:
        return TrustError(
            f"The coordinator does not let this site in: {state.link_cause}",
            remedy="The network is well; 'fedtui check' says the same.",
        )
    if state.link is False:
        return NetworkError(
            f"The link to the coordinator is down: {state.link_cause}",
            remedy="Run 'fedtui check'.",
        )
    if state.run is not None and state.run.state == "FAILED":
        return RunError(
            f"Run {state.run.run} failed: {state.run.cause}", remedy="Read 'fedtui logs'."
        )
    return None


def _link(state: Progress, alive: dict[str, int]) -> str:
    if "agent" not in alive:
        return "down"
    return {None: "starting", True: "up", False: "down"}[state.link]


def _model(home: Home, own: Site, run: RunProgress) -> str:
    """Where this home has a run's joint model; empty where only the coordinator keeps it."""
    if own.coordinates:
        return run.file
    kept = home.models / run.run / "joint.safetensors"  # since a validation
    return str(kept) if kept.exists() else ""


def _run_document(home: Home, own: Site, state: Progress) -> dict[str, Any] | None:
    run = state.run
    if run is None:
        return None
    last = run.history[-1] if run.history else None
    return {
        "run": run.run,
        "study": run.study,
        "state": run.state,
        "round": run.round,
        "rounds": run.rounds,
        "phase": run.phase,
        "metrics": last.metrics if last else {},
        "awaited": [] if run.over else list(run.awaited),
        "cause": run.cause,
        "file": _model(home, own, run),
        "sites": {name: asdict(value) for name, value in run.sites.items()},
    }
