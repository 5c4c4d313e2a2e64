"""What a run's models are worth: ordered at the coordinator, told by any home's journal."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedtui import journal, orders, progress, site
from fedtui.errors import RunError, UsageError
from fedtui.journal import Journal
from fedtui.operations._homes import coordinating
from fedtui.progress import RunProgress
from fedtui.site import Home

if TYPE_CHECKING:
    from fedtui.report.comparison import Comparison


def validate(home: Home, run_id: str = "") -> dict[str, Any]:
    """Have every site judge a run's models; returns the run and which attempt this is.

    Raises:
        UsageError: this home coordinates nothing, or the run did not come to its end.
        BusyError: another run is not over.
    """
    coordinating(home)
    return orders.order(home, "coordinator", "validate", run=run_id)


def await_validation(home: Home, run_id: str, attempt: int) -> "Comparison":
    """Wait until a validation is over.

    Raises:
        OperatorError: what ended it before its time.
    """
    from fedtui import events
    from fedtui.report.comparison import compare as compared

    seen: list[events.Event] = []
    ended: events.ValidationEnded | None = None

    def over() -> bool:
        return ended is not None

    for record in journal.follow(home.journal, stop=over):
        seen.append(record.event)
        if isinstance(record.event, events.ValidationEnded) and (
            (record.event.run, record.event.attempt) == (run_id, attempt)
        ):
            ended = record.event
            break
    assert ended is not None
    if ended.outcome != "completed":
        raise RunError(
            f"The validation of run {run_id} {ended.outcome}: {ended.cause}",
            remedy="Read 'fedtui logs', then order it again with 'fedtui validate'.",
        )
    found = compared(run_id, seen)
    assert found is not None
    return found


def compare(home: Home, target: str = "") -> "Comparison":
    """The comparison of a run, or of the last validated run of a study; default the last one.

    Raises:
        UsageError: nothing of that name was validated, or is known here.
    """
    from fedtui import events
    from fedtui.report.comparison import compare as compared

    site.load(home)
    book = Journal(home.journal, source="viewer")
    try:
        records = book.read()
    finally:
        book.close()
    runs = progress.fold(records).runs
    validated = [r.event.run for r in records if isinstance(r.event, events.ValidationStarted)]
    wanted = [
        run
        for run in validated
        if target in ("", run) or (run in runs and runs[run].study == target)
    ]
    if not wanted and target and not _is_known(home, target, runs):
        raise UsageError(f"No study or run {target} is known here.", remedy="See 'fedtui runs'.")
    if not wanted:
        raise UsageError(
            f"Nothing of {target} is validated yet." if target else "No run is validated yet.",
            remedy="Order it at the coordinator with 'fedtui validate RUN'.",
        )
    found = compared(wanted[-1], (record.event for record in records))
    assert found is not None
    return found


def _is_known(home: Home, target: str, runs: Mapping[str, RunProgress]) -> bool:
    from fedtui.operations._studies import studies

    if target in runs or any(run.study == target for run in runs.values()):
        return True
    return any(target == entry["id"] for entry in studies(home))


def comparison_document(found: "Comparison") -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "schema": 1,
        "run": found.run,
        "attempt": found.attempt,
        "outcome": found.outcome,
        "private": found.private,
        "sentence": found.sentence,
        "metric": found.metric,
        "own": [{**asdict(row), "verdict": row.verdict} for row in found.own],
        "others": [{**asdict(row), "verdict": row.verdict} for row in found.others],
        "pooled": {
            **asdict(found.pooled),
            "sites": list(found.pooled_sites),
            "note": "holds differences in prevalence between the sites",
        },
        "matrix": [_cell(found, model, site) for model in found.models for site in found.sites],
    }


def _cell(found: "Comparison", model: str, site: str) -> dict[str, Any]:
    cell = found.cells.get((model, site))
    told: dict[str, Any] = {"model": model, "site": site, "why": found.why(model, site)}
    if cell is not None:
        parts = ("patients", "outcomes", "metrics", "low", "high", "subgroups")
        told |= {name: getattr(cell, name) for name in parts}
    return told
