"""A site's own work in a run: what it had in hand, what that cost and what left the site."""

from typing import ClassVar

from fedtui.errors import joined
from fedtui.events._event import Event, event
from fedtui.events._run import Phase


@event
class WorkReceived(Event):
    """This site has one piece of work in hand."""

    run: str
    round: int
    phase: Phase
    bytes: int

    @property
    def sentence(self) -> str:
        return f"round {self.round}, {self.phase}: work received, {self.bytes} bytes."


@event
class TrainingProgressed(Event):
    """How far a site is inside a round; about twice a second.

    Attributes:
        step: Optimiser steps done, of ``steps``.
        loss: Mean over the last chunk's examples, in nats; None when it is not finite, of fewer
            examples than the minimum cell, or without the noise that the study promises.
        examples: Examples seen in this round.
    """

    run: str
    round: int
    site: str
    step: int
    steps: int
    loss: float | None
    examples: int

    @property
    def sentence(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        return f"round {self.round}: {self.site} at step {self.step} of {self.steps}{loss}."


@event
class WorkAnswered(Event):
    """This site finished one piece of work and the coordinator has the answer.

    Attributes:
        seconds: Wall time by part: pull, work (around the trainer), train, push.
        stored: Whether the answer was there already, from before it was asked again.
    """

    run: str
    round: int
    phase: Phase
    examples: int
    metrics: dict[str, float]
    seconds: dict[str, float]
    bytes_received: int
    bytes_sent: int
    stored: bool = False

    @property
    def sentence(self) -> str:
        how = "answered from the store" if self.stored else "answered"
        return f"round {self.round}, {self.phase}: {how}, {self.bytes_sent} bytes sent."


@event
class WorkFailed(Event):
    """This site could not do a piece of work; ``cause`` is one of our own sentences."""

    level: ClassVar[str] = "ERROR"
    run: str
    round: int
    phase: Phase
    cause: str
    remedy: str

    @property
    def sentence(self) -> str:
        return joined(f"round {self.round}, {self.phase}: {self.cause}", self.remedy)


@event
class PrivacySpent(Event):
    """An answer under record-level privacy was made: what the run has cost so far here.

    Attributes:
        question: What was asked, of which records: a name under the site's own secret. Asked again
            it costs nothing.
        epsilon: Of the whole run up to this answer, by RDP, at ``delta``.
        place: Where the data lie, likewise: one for all data sets of one folder.
        tight: The whole run's by PLD, with its last answer; None before.
        counted: For how many training rows, to the nearest five, the run's privacy is planned; 0 in
            journals of before that was kept.
    """

    run: str
    round: int
    data: str
    question: str
    epsilon: float
    delta: float
    place: str = ""
    tight: float | None = None
    counted: int = 0

    @property
    def sentence(self) -> str:
        return (
            f"round {self.round}: epsilon {self.epsilon:.3g} spent at delta {self.delta:.1g}; "
            "round 0, metrics and the choice of a model are not covered by it."
        )


@event
class PrivacyUnlimited(Event):
    """A further run under record-level privacy began on the same data, and no limit bounds them.

    Attributes:
        runs: That have spent on the data before.
        epsilon: What they have spent together.
        wanted: The study's own; 0 where it names noise instead.
    """

    level: ClassVar[str] = "WARN"
    run: str
    data: str
    runs: int
    epsilon: float
    wanted: float

    @property
    def sentence(self) -> str:
        before = f"{self.runs} earlier run{'s' * (self.runs != 1)}"
        more = f"up to {self.wanted:.3g}" if self.wanted else "its own part"
        return (
            f"run {self.run} spends more of the privacy of '{self.data}': epsilon "
            f"{self.epsilon:.3g} by {before}, {more} by this one; they add up, and this site sets "
            "no limit. Set limits.epsilon in site.toml, or decline further studies."
        )


@event
class BatchSplit(Event):
    """The device had too little memory for a batch: its gradients are added up in parts."""

    level: ClassVar[str] = "WARN"
    run: str
    round: int
    pieces: int

    @property
    def sentence(self) -> str:
        return (
            f"round {self.round}: too little memory, each batch is worked out in "
            f"{self.pieces} parts; slower, with the same result up to rounding, unless norm is "
            "local: those moments are then of a part."
        )


@event
class Released(Event):
    """Something left this site: the one place that tells what, to whom, under which study.

    Attributes:
        bytes: Of the whole answer as Flower writes it, before HTTP and TLS.
        patients: Behind it, to the nearest five.
        suppressed: Numbers that were hidden, since too few patients stand behind them.
        earlier: Day of the earlier release of which exact numbers were told again, because the
            cohort has changed since by fewer patients than the minimum cell; else empty.
        withheld: Tables that were kept back, because one by other limits was told before.
    """

    run: str
    round: int
    kind: str
    recipient: str
    fingerprint: str
    bytes: int
    patients: int = 0
    suppressed: int = 0
    earlier: str = ""
    withheld: tuple[str, ...] = ()

    @property
    def level(self) -> str:  # type: ignore[override]
        """That something else was told than is so today is a warning."""
        return "WARN" if self.earlier or self.withheld else "INFO"

    @property
    def sentence(self) -> str:
        what = f"{self.kind} left this site for {self.recipient}"
        words = f"round {self.round}: {what}, {self.bytes} bytes"
        if self.suppressed:
            words += f", {self.suppressed} small cells hidden"
        if self.earlier:
            words += (
                f"; exact numbers are those told on {self.earlier}, since the cohort has changed "
                "by too few patients to be told of anew"
            )
        if self.withheld:
            words += f"; withheld, since told before by other limits: {', '.join(self.withheld)}"
        return f"{words}."
