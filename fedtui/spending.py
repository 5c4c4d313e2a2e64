"""What record-level privacy has cost on one data set: over all runs, by plain addition."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedtui import events
from fedtui.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Epsilon spent on one data set at this site.

    Attributes:
        by_run: What each run has cost so far; runs on the same records add up.
        limit: Most that all runs together may cost; None where the site sets no limit.
    """

    data: str
    by_run: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None

    @property
    def total(self) -> float:
        """Over all runs."""
        return sum(self.by_run.values())

    @property
    def words(self) -> str:
        """As every report says it."""
        runs = f"{len(self.by_run)} run" + "s" * (len(self.by_run) != 1)
        bound = (
            "no limit set (limits.epsilon in site.toml)"
            if self.limit is None
            else f"limit {self.limit:g}"
        )
        return f"epsilon {self.total:.3g} over {runs} on '{self.data}'; {bound}"


def spending(
    told: Iterable[Event],
    data: str,
    *,
    place: str = "",
    limit: float | None = None,
    without: str = "",
) -> Spending:
    """What this site's own events say was spent on ``data``, by all runs but ``without``.

    Args:
        place: Of the data, as ``PrivacySpent`` names it: another data set of the same folder is of
            the same patients. Where they were read before, the events tell it.
    """
    spent = [event for event in told if isinstance(event, events.PrivacySpent)]
    places = {place, *(event.place for event in spent if event.data == data)} - {""}
    by_run: dict[str, float] = {}
    for event in spent:
        if event.run != without and (event.data == data or event.place in places):
            by_run[event.run] = max(by_run.get(event.run, 0.0), event.epsilon)
    return Spending(data=data, by_run=by_run, limit=limit)
