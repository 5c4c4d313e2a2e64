"""A run's report, the papers of its bundle, and what left this site."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import events, keys, progress, site
from fedtui import study as studies
from fedtui.errors import UsageError
from fedtui.journal import Journal
from fedtui.operations._validation import comparison_document
from fedtui.record import iso
from fedtui.site import Home
from fedtui.study import Study

if TYPE_CHECKING:
    from fedtui.report.facts import Facts
    from fedtui.spending import Spending


def facts(home: Home, run_id: str = "") -> "Facts":
    """What this home knows of a run; default the last one.

    Raises:
        UsageError: there is no such run in this journal.
    """
    from fedtui import export
    from fedtui.report.facts import gather

    own = site.load(home)
    book = Journal(home.journal, source="viewer")
    try:
        records = book.read()
    finally:
        book.close()
    runs = progress.fold(records).runs
    if not run_id and runs:
        run_id = next(reversed(runs))
    if run_id not in runs:
        raise UsageError(
            f"There is no run {run_id} in this journal." if run_id else "There is no run yet.",
            remedy="See 'fedtui runs'.",
        )
    found = gather(
        records,
        run_id,
        site=own.name,
        study=_study(home, run_id, runs[run_id].fingerprint),
        minimum_cell=own.limits.minimum_cell,
        versions=export.versions(),
        epsilon=own.limits.epsilon,
    )
    assert found is not None
    return found


def report_page(home: Home, run_id: str = "") -> str:
    """The report as one HTML page that needs nothing else."""
    from fedtui.report.page import page

    return page(facts(home, run_id))


def report_text(home: Home, run_id: str = "") -> list[str]:
    """The report as lines for a terminal."""
    from fedtui.report import text

    return text.report(facts(home, run_id))


def report_document(home: Home, run_id: str = "") -> dict[str, Any]:
    """The report as one JSON document."""
    from fedtui.report import papers

    found = facts(home, run_id)
    compared = found.comparison
    return {
        "schema": 1,
        "run": found.progress.run,
        "study": found.progress.study,
        "fingerprint": found.progress.fingerprint,
        "state": found.progress.state,
        "comparison": None if compared is None else comparison_document(compared),
        "rounds": _rounds(found),
        "agreed": dict(papers.terms(found)),
        "approvals": dict(papers.approvals(found)),
        "privacy": dict(papers.privacy_spent(found)),
        "leakage": [line for _, line in papers.leakage(found)],
        "released": _released(found.released),
        "versions": found.versions,
    }


def released(home: Home, run_id: str = "") -> list[dict[str, Any]]:
    """Everything that left this site, oldest first: what, to whom, under which study, when."""
    site.load(home)
    book = Journal(home.journal, source="viewer")
    try:
        records = book.own(("Released",))
    finally:
        book.close()
    return _released(
        (record.time, record.event)
        for record in records
        if isinstance(record.event, events.Released) and run_id in ("", record.event.run)
    )


def spent(home: Home) -> "list[Spending]":
    """The record-level privacy that all runs have spent, by data set."""
    from fedtui.spending import spending

    limit = site.load(home).limits.epsilon
    book = Journal(home.journal, source="viewer")
    try:
        told = [record.event for record in book.own(("PrivacySpent",))]
    finally:
        book.close()
    names = dict.fromkeys(e.data for e in told if isinstance(e, events.PrivacySpent))
    return [spending(told, name, limit=limit) for name in names]


def export_bundle(home: Home, run_id: str, to: Path) -> list[Path]:
    """Write a run with everything that another hospital needs to judge it, signed by this site.

    Raises:
        UsageError: no such run, or the folder is not empty.
    """
    from fedtui import export
    from fedtui.report import papers
    from fedtui.report.page import page
    from fedtui.report.sbom import bill_of_materials

    found = facts(home, run_id)
    compared = found.comparison
    leakage = [events.to_fields(r.event) for r in found.of("LeakageAudited", "LeakageOverridden")]
    documents: dict[str, Any] = {
        "metrics.json": {"schema": 1, "rounds": _rounds(found)},
        "matrix.json": {"schema": 1, "validated": False}
        if compared is None
        else comparison_document(compared),
        "approvals.json": {
            "schema": 1,
            "decisions": [
                {"time": iso(r.time), **events.to_fields(r.event)} for r in found.of("StudyDecided")
            ],
            "documents": _documents(home, found.progress.fingerprint),
        },
        "leakage.json": {"schema": 1, "audits": leakage},
        "released.json": {"schema": 1, "released": _released(found.released)},
    }
    papers_ = {
        "model-card.md": papers.model_card(found),
        "datasheet.md": papers.data_sheet(found),
        "dpia-annex.md": papers.impact_annex(found),
        "report.html": page(found),
        "sbom.cdx.json": bill_of_materials(time=iso(found.records[-1].time)),
    }
    texts = {name: json.dumps(one, indent=2) + "\n" for name, one in documents.items()} | papers_
    book = Journal(home.journal, source="operator")
    try:
        return export.write(
            book,
            found.progress.run,
            to,
            site=found.site,
            study=None if found.study is None else studies.canonical(found.study).decode(),
            papers=texts,
            key=keys.load_private(home.keys / "node.key"),
        )
    finally:
        book.close()


def _study(home: Home, run_id: str, fingerprint: str) -> Study | None:
    """The run's study: from the coordinator's run, this site's register, or the models it keeps."""
    from fedtui import modelfile
    from fedtui.register import Register

    path = home.runs / run_id / "run.json"
    if path.exists():
        return studies.parse(json.loads(path.read_bytes())["study"].encode())
    for folder in (home.studies, home.register):
        if folder.is_dir():
            for entry in Register(folder).entries():
                if entry.fingerprint == fingerprint:
                    return entry.study
    kept = home.models / run_id / "joint.safetensors"
    if kept.exists():
        return studies.parse(modelfile.stored(kept)[2]["study"].encode())
    return None


def _documents(home: Home, fingerprint: str) -> list[str]:
    """The signed proposal and decisions on a study, word for word."""
    from fedtui.register import Register

    for folder in (home.studies, home.register):
        if folder.is_dir():
            book = Register(folder)
            return [
                book.data(document.id).decode()
                for document in book.documents()
                if getattr(document.body, "fingerprint", "") == fingerprint
            ]
    return []


def _rounds(found: "Facts") -> list[dict[str, Any]]:
    return [
        {
            "round": ended.round,
            "metrics": ended.metrics,
            "by_site": ended.by_site,
            "examples": ended.examples,
        }
        for ended in found.progress.history
    ]


def _released(pairs: Any) -> list[dict[str, Any]]:
    return [
        {
            "time": iso(at),
            "run": event.run,
            "round": event.round,
            "what": event.kind,
            "to": event.recipient,
            "fingerprint": event.fingerprint,
            "bytes": event.bytes,
            "patients": event.patients or None,
            "hidden": event.suppressed,
        }
        for at, event in pairs
    ]
