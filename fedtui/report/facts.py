"""Everything that a report of a run rests on, taken from one home's journal and study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedtui import events
from fedtui.progress import RunProgress, fold
from fedtui.record import Record
from fedtui.report.comparison import Comparison, compare
from fedtui.spending import Spending, spending
from fedtui.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known here of one run.

    Attributes:
        site: Whose journal this is.
        study: What was agreed on, where this home has it.
        released: What left this site in this run, oldest first.
        records: The run's own records, in order.
        minimum_cell: Fewest patients that a released number of this site stands on.
        spending: Of record-level privacy over all runs on the run's data.
        versions: fedtui, Python, system and libraries.
    """

    site: str
    progress: RunProgress
    study: Study | None
    comparison: Comparison | None
    released: tuple[tuple[float, events.Released], ...]
    records: tuple[Record, ...]
    minimum_cell: int
    spending: Spending | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Record]:
        """The run's records of these kinds, by name."""
        return [record for record in self.records if type(record.event).__name__ in kinds]


def gather(
    records: Sequence[Record],
    run: str,
    *,
    site: str,
    study: Study | None,
    minimum_cell: int,
    versions: dict[str, str],
    epsilon: float | None = None,
) -> Facts | None:
    """The facts of ``run``, or None if the journal does not know it.

    Args:
        epsilon: This site's limit over all runs on one data set; None for no limit.
    """
    progress = fold(records).runs.get(run)
    if progress is None:
        return None
    own = tuple(r for r in records if _concerns(r, run, progress.fingerprint))
    released = tuple((r.time, r.event) for r in own if isinstance(r.event, events.Released))
    data = next((r.event.data for r in own if isinstance(r.event, events.PrivacySpent)), "")
    spent = spending((r.event for r in records), data, limit=epsilon) if data else None
    return Facts(
        site=site,
        progress=progress,
        study=study,
        comparison=compare(run, (r.event for r in own)),
        released=released,
        records=own,
        minimum_cell=minimum_cell,
        spending=spent,
        versions=versions,
    )


def _concerns(record: Record, run: str, fingerprint: str) -> bool:
    event = record.event
    return run == getattr(event, "run", None) or fingerprint == getattr(event, "fingerprint", None)
