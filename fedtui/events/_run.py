"""A run's course, as the coordinator leads it: what it asks, hears and keeps, from start to end."""

from typing import ClassVar, Literal

from fedtui.events._event import Event, event

Phase = Literal["prepare", "train", "evaluate", "validate", "exchange"]
Outcome = Literal["completed", "failed", "stopped"]


@event
class RunSubmitted(Event):
    """A study was handed to the coordinator; the run exists from here on.

    Attributes:
        train_sites: Who trains; the other ``sites`` only evaluate.
        metric: The one number that screens show, by name.
    """

    run: str
    study: str
    fingerprint: str
    sites: tuple[str, ...]
    train_sites: tuple[str, ...]
    rounds: int
    metric: str
    interop: bool = False

    @property
    def sentence(self) -> str:
        return (
            f"run {self.run} of study {self.study}: {self.rounds} rounds, {len(self.sites)} sites."
        )


@event
class RunResumed(Event):
    """A run goes on after the coordinator was away; nothing before ``round`` is repeated."""

    run: str
    round: int

    @property
    def sentence(self) -> str:
        return f"run {self.run} goes on with round {self.round}."


@event
class RunPaused(Event):
    """An operator paused (or resumed) a run; it pauses between two exchanges."""

    run: str
    paused: bool

    @property
    def sentence(self) -> str:
        return f"run {self.run} {'is paused' if self.paused else 'goes on'}, as ordered."


@event
class PhaseStarted(Event):
    """The coordinator asked sites to do one phase of a round; round 0 prepares."""

    run: str
    round: int
    phase: Phase
    sites: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"round {self.round}, {self.phase}: asked {', '.join(self.sites)}."


@event
class ShiftFound(Event):
    """Before round 1: a site's data look unlike the others', by what all sites told in round 0.

    Attributes:
        kind: 'features', by how many deviations a mean lies elsewhere; 'labels', the population
            stability index of the classes; 'scaling', deviations of values that look as if the
            site had scaled them by itself.
        found: By feature, the largest first.
        threshold: Above which it is told; of 'scaling', how near to mean 0 and deviation 1.
    """

    level: ClassVar[str] = "WARN"
    run: str
    site: str
    kind: Literal["features", "labels", "scaling"]
    found: dict[str, float]
    threshold: float

    @property
    def sentence(self) -> str:
        worst = sorted(self.found.items(), key=lambda item: -abs(item[1]))[:5]
        more = f" and {len(self.found) - 5} more" if len(self.found) > 5 else ""
        if self.kind == "labels":
            return (
                f"{self.site} has its classes in other shares than the other sites (population "
                f"stability index {sum(self.found.values()):.2f}, above {self.threshold:g}): check "
                "the rule for the label, and judge each site by itself."
            )
        if self.kind == "scaling":
            names = ", ".join(name for name, _ in worst)
            return (
                f"{self.site} seems to have scaled its own data ({names}{more}: mean 0, deviation "
                "1): give values in the agreed units, since sites that scale by themselves do not "
                "mean the same by the same number."
            )
        words = ", ".join(f"{name} {shift:+.2f}" for name, shift in worst)
        return (
            f"{self.site} differs from the other sites by more than {self.threshold:g} deviations "
            f"in {words}{more}: check units and who is in the cohort."
        )


@event
class AnswerReceived(Event):
    """The coordinator has a site's valid answer.

    Attributes:
        seconds: By part: train (at the site), transfer (both ways, and the site's hand-over),
            total (from asking to having it).
    """

    run: str
    round: int
    phase: Phase
    site: str
    examples: int
    metrics: dict[str, float]
    seconds: dict[str, float]

    @property
    def sentence(self) -> str:
        total = self.seconds.get("total", 0.0)
        return f"round {self.round}, {self.phase}: {self.site} answered after {total:.2f} s."


@event
class AnswerRefused(Event):
    """The coordinator refused a site's answer, by name; the round goes on with the others."""

    level: ClassVar[str] = "WARN"
    run: str
    round: int
    phase: Phase
    site: str
    code: str
    cause: str

    @property
    def sentence(self) -> str:
        return f"round {self.round}, {self.phase}: {self.site} refused ({self.code}): {self.cause}"


@event
class SitesAwaited(Event):
    """A round waits for sites that have gone silent or cannot work, since ``seconds``.

    Attributes:
        causes: What keeps them from it, of those that say so.
    """

    level: ClassVar[str] = "WARN"
    run: str
    round: int
    phase: Phase
    sites: tuple[str, ...]
    seconds: float
    causes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        who = ", ".join(self.sites)
        why = f" ({'; '.join(self.causes)})" if self.causes else ""
        return f"round {self.round}, {self.phase}: waiting for {who}, {self.seconds:.0f} s{why}."


@event
class CheckpointWritten(Event):
    """The joint model after ``round`` is safe on the coordinator's disk."""

    run: str
    round: int
    file: str
    sha256: str
    bytes: int

    @property
    def sentence(self) -> str:
        return f"round {self.round}: checkpoint {self.file}, sha256 {self.sha256[:12]}."


@event
class RoundEnded(Event):
    """A round is over at every site that took part.

    Attributes:
        metrics: Joint metrics by name: means over all sites' test examples, weighted by examples.
        by_site: The same for each site, on its own test examples.
        examples: Training examples behind the round's model.
        seconds: By part: train (slowest site), transfer, waiting (slowest minus fastest
            site), judging (of the processor, to read all updates' numbers), aggregation,
            checkpoint, total.
    """

    run: str
    round: int
    metrics: dict[str, float]
    by_site: dict[str, dict[str, float]]
    examples: int
    seconds: dict[str, float]

    @property
    def sentence(self) -> str:
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"round {self.round} ended after {self.seconds.get('total', 0):.2f} s: {numbers}."


@event
class HeadWitnessed(Event):
    """A site's journal stood here at a round's end, by its own signature; its peers keep it.

    A chain that was cut or rewritten afterwards no longer contains this head.

    Attributes:
        at: Position of the head in that site's journal.
        head: The chain's value there, hex.
        key: The site's public key, PEM, whose signature (base64) covers site, position and head.
    """

    run: str
    site: str
    at: int
    head: str
    key: str
    signature: str

    @property
    def sentence(self) -> str:
        return f"{self.site} signed its journal's head, record {self.at}, {self.head[:12]}."


@event
class RunEnded(Event):
    """A run is over.

    Attributes:
        code: What ``watch`` exits with.
        file: The joint model on the coordinator's disk, where there is one; sites do not hear it.
    """

    run: str
    outcome: Outcome
    cause: str
    code: int = 0
    file: str = ""
    sha256: str = ""

    @property
    def level(self) -> str:  # type: ignore[override]
        """A failed run is an error."""
        return "ERROR" if self.outcome == "failed" else "INFO"

    @property
    def sentence(self) -> str:
        return f"run {self.run} {self.outcome}: {self.cause.rstrip('.')}."
