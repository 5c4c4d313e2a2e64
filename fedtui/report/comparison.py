"""The board's question: is each hospital better off with the joint model than with its own alone?

Answered for each site on its own test patients, in pairs; then on the others'; pooled last.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedtui.events import (
    AnswerReceived,
    Event,
    ModelValidated,
    PrivacySpent,
    ValidationEnded,
    ValidationStarted,
)

FEDERATED, TUNED = "federated", "fine-tuned"
Verdict = Literal["worse", "no clear difference", "better", "unknown"]
NOT_EXCHANGED = "not exchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval; any of them None where it is not told."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The joint model against one local model on one site's test patients.

    Attributes:
        owner: Whose local model it is.
        patients: At ``site``, to the nearest five; None where hidden.
        difference: Federated less local on the same patients, paired; above 0 is better.
        tuned: The joint model after local epochs, where the study asks for them.
        tuned_difference: That less local.
        why: Why numbers are missing, as a clause.
    """

    site: str
    owner: str
    patients: int | None = None
    federated: Estimate = field(default_factory=Estimate)
    local: Estimate = field(default_factory=Estimate)
    difference: Estimate = field(default_factory=Estimate)
    tuned: Estimate = field(default_factory=Estimate)
    tuned_difference: Estimate = field(default_factory=Estimate)
    why: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the difference says; nothing clear where its interval holds 0, or there is none."""
        value, low, high = self.difference.value, self.difference.low, self.difference.high
        if value is None:
            return "unknown"
        if high is not None and high < 0:
            return "worse"
        if low is not None and low > 0:
            return "better"
        return "no clear difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a run's validation came to.

    Attributes:
        metric: By which models are compared; more of it is better.
        own: Each site's own patients, against its own local model.
        others: Each site's patients, against the other sites' local models.
        pooled: AUROC over all told examples, and between what it lies for certain.
        pooled_sites: Whose patients are in it.
        cells: Every cell of the matrix: what was told, by model and site.
        outcome: Of the validation; empty while it is under way.
        private: Whether the joint model was trained under record-level privacy.
    """

    run: str
    attempt: int
    sites: tuple[str, ...]
    metric: str = ""
    own: tuple[Row, ...] = ()
    others: tuple[Row, ...] = ()
    pooled: Estimate = field(default_factory=Estimate)
    pooled_sites: tuple[str, ...] = ()
    cells: dict[tuple[str, str], ModelValidated] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    cause: str = ""
    private: bool = False

    @property
    def sentence(self) -> str:
        """The answer in a sentence; who is worse off comes first."""
        worse = [row for row in self.own if row.verdict == "worse"]
        unclear = [row for row in self.own if row.verdict == "no clear difference"]
        unknown = [row.site for row in self.own if row.verdict == "unknown"]
        told = len(self.own) - len(unknown)
        parts = [f"{r.site} is worse off with the joint model ({_shown(r)})" for r in worse]
        if not self.own or (not told and not parts):
            return "Whether any site is better or worse off is not known."
        if not parts:
            better = sum(row.verdict == "better" for row in self.own)
            parts = [
                f"No site is worse off beyond chance by its own patients: {better} of {told} "
                "better off beyond chance"
            ]
        if unclear:
            named = ", ".join(f"{row.site} ({_shown(row)})" for row in unclear)
            parts.append(f"no clear difference at {named}")
        if unknown:
            parts.append(f"nothing can be told of {', '.join(unknown)}")
        return "; ".join(parts) + "."

    def why(self, model: str, site: str) -> str:
        """Why a cell of the matrix is empty."""
        cell = self.cells.get((model, site))
        if cell is not None:
            return cell.withheld
        return self.withheld.get(site) or self.withheld.get(model) or NOT_EXCHANGED

    @property
    def models(self) -> tuple[str, ...]:
        """The matrix's rows, the joint model first."""
        local = tuple(f"local:{site}" for site in self.sites)
        tuned = any(model == TUNED for model, _ in self.cells)
        return (FEDERATED, *((TUNED,) if tuned else ()), *local)


def compare(run: str, events: Iterable[Event]) -> Comparison | None:
    """The newest validation of ``run`` among a journal's events, or None if there is none."""
    started: ValidationStarted | None = None
    ended: ValidationEnded | None = None
    cells: dict[tuple[str, str], ModelValidated] = {}
    private = False
    for event in events:
        private = private or _spends(run, event)
        if isinstance(event, ValidationStarted) and event.run == run:
            started, ended, cells = event, None, {}
        elif started is None or getattr(event, "attempt", None) != started.attempt:
            continue
        elif isinstance(event, ModelValidated) and event.run == run:
            cells[event.model, event.site] = event
        elif isinstance(event, ValidationEnded) and event.run == run:
            ended = event
    if started is None:
        return None
    metric = next((cell.primary for cell in cells.values()), "")
    rows = {
        (site, owner): _row(site, owner, metric, cells, ended.withheld if ended else {})
        for site in started.sites
        for owner in started.sites
    }
    pooled = ended.pooled if ended else {}
    return Comparison(
        run=run,
        attempt=started.attempt,
        sites=started.sites,
        metric=metric,
        own=tuple(row for (site, owner), row in rows.items() if site == owner),
        others=tuple(row for (site, owner), row in rows.items() if site != owner),
        pooled=Estimate(value=pooled.get("area"), low=pooled.get("low"), high=pooled.get("high")),
        pooled_sites=ended.pooled_sites if ended else (),
        cells=cells,
        withheld=ended.withheld if ended else {},
        outcome=ended.outcome if ended else "",
        cause=ended.cause if ended else "",
        private=private,
    )


def _spends(run: str, event: Event) -> bool:
    """As a site notes it, or as the coordinator is told."""
    if isinstance(event, AnswerReceived):
        return event.run == run and "epsilon" in event.metrics
    return isinstance(event, PrivacySpent) and event.run == run


def _row(
    site: str,
    owner: str,
    metric: str,
    cells: Mapping[tuple[str, str], ModelValidated],
    withheld: Mapping[str, str],
) -> Row:
    joint, local = cells.get((FEDERATED, site)), cells.get((f"local:{owner}", site))
    tuned = cells.get((TUNED, site)) if site == owner else None
    # A site's own pair is told with the joint model, another's with that one's local model.
    pair = joint if site == owner else local
    why = withheld.get(site, "") or (joint.withheld if joint else "no answer")
    if not why and local is None:
        why = withheld.get(f"local:{owner}", NOT_EXCHANGED)
    return Row(
        site=site,
        owner=owner,
        patients=joint.patients if joint else None,
        federated=estimate(joint, metric),
        local=estimate(local, metric),
        difference=_difference(pair, metric),
        tuned=estimate(tuned, metric),
        tuned_difference=_difference(tuned, metric),
        why=why,
    )


def estimate(cell: ModelValidated | None, metric: str) -> Estimate:
    """A metric in one cell, with its interval."""
    if cell is None:
        return Estimate()
    return Estimate(
        value=cell.metrics.get(metric), low=cell.low.get(metric), high=cell.high.get(metric)
    )


def _difference(cell: ModelValidated | None, metric: str) -> Estimate:
    if cell is None:
        return Estimate()
    return Estimate(
        value=cell.difference.get(metric),
        low=cell.difference_low.get(metric),
        high=cell.difference_high.get(metric),
    )


def _shown(row: Row) -> str:
    d = row.difference
    parts = [value for value in (d.value, d.low, d.high) if value is not None]
    first, *between = (f"{round(value, 3) + 0.0:+.3f}" for value in parts)
    return first if len(between) < 2 else f"{first}, {between[0]} to {between[1]}"
