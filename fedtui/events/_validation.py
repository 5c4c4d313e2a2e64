"""What a run's models turned out to be worth, at which site: the cells of the matrix."""

from dataclasses import field
from typing import ClassVar

from fedtui.errors import joined
from fedtui.events._event import Event, event
from fedtui.events._run import Outcome


@event
class ValidationStarted(Event):
    """The coordinator begins to ask the sites what a run's models are worth at them.

    Attributes:
        attempt: Counted from 1; a later one replaces what the earlier ones found.
    """

    run: str
    attempt: int
    sites: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"run {self.run} is being validated at {', '.join(self.sites)}."


@event
class ModelValidated(Event):
    """One model on one site's own test patients, as that site lets it be known.

    Attributes:
        model: 'federated', 'fine-tuned', or 'local:SITE' for what that site trained alone.
        primary: The metric by which models are compared here.
        patients: To the nearest five; None where they are too few to be told.
        outcomes: Patients by class, likewise; none where any of them is too few.
        metrics: By name, None where not defined; empty where outcomes are too few.
        low: Lower ends of 95 % intervals over patients, by metric.
        high: Upper ends.
        difference: The federated model (or the fine-tuned one) less a site's local one on the
            same patients, by metric: in the row of 'federated' and 'fine-tuned' less this site's
            own, in the row of another site's local model the federated less that one.
        difference_low: Lower ends of its 95 % interval.
        difference_high: Upper ends.
        subgroups: By 'feature: group': patients, and each metric with _low and _high.
        withheld: Why numbers are missing, as a clause; empty where none is.
    """

    run: str
    attempt: int
    site: str
    model: str
    primary: str
    patients: int | None
    outcomes: tuple[int, ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    difference_low: dict[str, float] = field(default_factory=dict)
    difference_high: dict[str, float] = field(default_factory=dict)
    subgroups: dict[str, dict[str, float | None]] = field(default_factory=dict)
    withheld: str = ""

    @property
    def sentence(self) -> str:
        value = self.metrics.get(self.primary)
        if value is None:
            return f"{self.model} at {self.site}: {self.withheld or 'not defined'}."
        low, high = self.low.get(self.primary), self.high.get(self.primary)
        between = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        return f"{self.model} at {self.site}: {self.primary} {value:.3f}{between}."


@event
class ValidationEnded(Event):
    """A run's validation is over.

    Attributes:
        withheld: By model and 'model at site', why a cell of the matrix is empty.
        pooled: AUROC of the federated model over the patients of ``pooled_sites``, and between
            which values it lies for certain: area, low, high; empty without histograms.
    """

    run: str
    attempt: int
    outcome: Outcome
    cause: str
    code: int = 0
    withheld: dict[str, str] = field(default_factory=dict)
    pooled: dict[str, float] = field(default_factory=dict)
    pooled_sites: tuple[str, ...] = ()

    @property
    def level(self) -> str:  # type: ignore[override]
        """A failed validation is an error."""
        return "ERROR" if self.outcome == "failed" else "INFO"

    @property
    def sentence(self) -> str:
        return f"validation of run {self.run} {self.outcome}: {self.cause.rstrip('.')}."


@event
class ModelWithheld(Event):
    """This site kept its local model to itself although others may have it."""

    level: ClassVar[str] = "WARN"
    run: str
    cause: str

    @property
    def sentence(self) -> str:
        return f"run {self.run}: the local model stays here: {self.cause.rstrip('.')}."


@event
class ModelImported(Event):
    """Another site's model, come as a file, was judged on this site's test patients; stays here.

    Attributes:
        kind: 'joint' or 'local', as its owner signed it.
        vector: Hex sha256 of its parameters.
        patients: To the nearest five; None where outcomes are too few.
        metrics: Of the imported model, by name.
        own: Of this site's own model, where it has one of that run.
        difference: Imported less own on the same patients.
        low: Lower ends of 95 % intervals; of a difference under 'less METRIC'.
        high: Upper ends.
    """

    run: str
    owner: str
    kind: str
    vector: str
    fingerprint: str
    primary: str
    patients: int | None
    metrics: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        value = self.metrics.get(self.primary)
        told = "too few patients to be told" if value is None else f"{self.primary} {value:.3f}"
        return f"{self.kind} model of {self.owner}, run {self.run}, judged here: {told}."


@event
class ImportFailed(Event):
    """A model that came as a file could not be judged; ``error`` is one of our own."""

    level: ClassVar[str] = "ERROR"
    run: str
    owner: str
    error: str
    message: str
    remedy: str

    @property
    def sentence(self) -> str:
        return joined(f"the model of {self.owner}, run {self.run}: {self.message}", self.remedy)
