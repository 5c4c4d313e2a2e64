"""What can happen in a federation, as plain facts that are safe to keep and to show.

An event holds structured fields only: never a patient's value, never the text of an exception
that could quote one. State on screen is a fold over events (``progress.advance``).
"""

import dataclasses
import json
import typing
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Phase = Literal["prepare", "train", "evaluate"]
Outcome = Literal["completed", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact. ``level`` is what a log filter sees."""

    level: ClassVar[str] = "INFO"

    @property
    def sentence(self) -> str:
        """The event in words, for logs and screen readers."""
        raise TypeError(f"{type(self).__name__} has no words")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCreated(Event):
    """A home was made; ``key`` is the fingerprint of its public key."""

    site: str
    roles: tuple[str, ...]
    key: str

    @property
    def sentence(self) -> str:
        return f"{self.site} was created as {' and '.join(self.roles)}, key {self.key}."


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteInvited(Event):
    """The coordinator put a site's public key on its roster."""

    site: str
    key: str

    @property
    def sentence(self) -> str:
        return f"{self.site} is on the roster with key {self.key}."


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationJoined(Event):
    """This site pinned a coordinator's address and certificate authority."""

    address: str
    authority: str

    @property
    def sentence(self) -> str:
        return f"joined the federation at {self.address}, authority {self.authority}."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted(Event):
    """One of this home's processes is up."""

    process: str
    pid: int
    version: str

    @property
    def sentence(self) -> str:
        return f"{self.process} started, process {self.pid}, fedtui {self.version}."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnded(Event):
    """One of this home's processes is gone; a killed one is started again."""

    process: str
    cause: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """A process that was told to end is news; any other end is a warning."""
        return "INFO" if self.cause == "stopped" else "WARN"

    @property
    def sentence(self) -> str:
        return f"{self.process} ended: {self.cause}."


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTaken(Event):
    """Someone on this host gave a process an order through its socket."""

    order: str
    process: str
    uid: int

    @property
    def sentence(self) -> str:
        return f"user {self.uid} ordered the {self.process}: {self.order}."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReported(Event):
    """What this site's trainer computes on."""

    device: str
    count: int
    memory_bytes: int | None

    @property
    def sentence(self) -> str:
        return f"training uses {self.count} x {self.device}."


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged(Event):
    """The link from this site to the coordinator came up or went down."""

    up: bool
    code: str
    cause: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """A lost link is a warning."""
        return "INFO" if self.up else "WARN"

    @property
    def sentence(self) -> str:
        state = "is up" if self.up else "is down"
        return f"the link to the coordinator {state}: {self.cause}."


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSeen(Event):
    """The coordinator began or ceased to hear a site."""

    site: str
    here: bool

    @property
    def level(self) -> str:  # type: ignore[override]
        """A silent site is a warning."""
        return "INFO" if self.here else "WARN"

    @property
    def sentence(self) -> str:
        return f"{self.site} {'is connected' if self.here else 'has gone silent'}."


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Event):
    """The coordinator refused a request; ``code`` names why, as the sender was told."""

    level: ClassVar[str] = "WARN"
    site: str
    code: str

    @property
    def sentence(self) -> str:
        return f"a request in the name of {self.site} was refused: {self.code}."


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A run goes on after the coordinator was away; nothing before ``round`` is repeated."""

    run: str
    round: int

    @property
    def sentence(self) -> str:
        return f"run {self.run} goes on with round {self.round}."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """An operator paused (or resumed) a run; it pauses between two exchanges."""

    run: str
    paused: bool

    @property
    def sentence(self) -> str:
        return f"run {self.run} {'is paused' if self.paused else 'goes on'}, as ordered."


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """The coordinator asked sites to do one phase of a round; round 0 prepares."""

    run: str
    round: int
    phase: Phase
    sites: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"round {self.round}, {self.phase}: asked {', '.join(self.sites)}."


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReceived(Event):
    """This site has one piece of work in hand."""

    run: str
    round: int
    phase: Phase
    bytes: int

    @property
    def sentence(self) -> str:
        return f"round {self.round}, {self.phase}: work received, {self.bytes} bytes."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgressed(Event):
    """How far a site is inside a round; about twice a second.

    Attributes:
        step: Optimiser steps done, of ``steps``.
        loss: Mean over the last chunk's examples, in nats; None when it is not finite.
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
        loss = "not finite" if self.loss is None else f"{self.loss:.4f}"
        return f"round {self.round}: {self.site} at step {self.step} of {self.steps}, loss {loss}."


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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
        return f"round {self.round}, {self.phase}: {self.cause} {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(Event):
    """Something left this site: the one place that tells what, to whom, under which study."""

    run: str
    round: int
    kind: str
    recipient: str
    fingerprint: str
    bytes: int

    @property
    def sentence(self) -> str:
        what = f"{self.kind} left this site for {self.recipient}"
        return f"round {self.round}: {what}, {self.bytes} bytes."


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesAwaited(Event):
    """A round waits for sites that have gone silent or are slow, since ``seconds``."""

    level: ClassVar[str] = "WARN"
    run: str
    round: int
    phase: Phase
    sites: tuple[str, ...]
    seconds: float

    @property
    def sentence(self) -> str:
        who = ", ".join(self.sites)
        return f"round {self.round}, {self.phase}: waiting for {who}, {self.seconds:.0f} s."


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnded(Event):
    """A round is over at every site that took part.

    Attributes:
        metrics: Joint metrics by name: means over all sites' test examples, weighted by examples.
        by_site: The same for each site, on its own test examples.
        examples: Training examples behind the round's model.
        seconds: By part: train (slowest site), transfer, waiting (slowest minus fastest
            site), aggregation, checkpoint, total.
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """A run is over.

    Attributes:
        code: What ``watch`` exits with.
        file: The joint model, where there is one.
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
        return f"run {self.run} {self.outcome}: {self.cause}."


KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}


def to_fields(event: Event) -> dict[str, Any]:
    """The event's fields as JSON values, with its kind under ``event``."""
    return {"event": type(event).__name__} | {
        f.name: getattr(event, f.name) for f in dataclasses.fields(event)
    }


def to_json(event: Event) -> str:
    """The event on one line, keys sorted, NaN refused: what the journal's hash covers."""
    return json.dumps(
        to_fields(event), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def from_fields(fields: dict[str, Any]) -> Event:
    """The event that ``to_fields`` wrote; fields that this version does not know are left out.

    Raises:
        ValueError: an unknown kind, or a field is missing.
    """
    kind = KINDS.get(fields.get("event", ""))
    if kind is None:
        raise ValueError(f"unknown event {fields.get('event')!r}")
    known = {f.name: f for f in dataclasses.fields(kind)}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if name in known
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def from_json(text: str) -> Event:
    """The event that ``to_json`` wrote. Raises ValueError as ``from_fields``."""
    return from_fields(json.loads(text))


PHASES: tuple[str, ...] = typing.get_args(Phase)
