"""What is on screen, as a pure fold over the journal: ``progress = advance(progress, record)``.

A dashboard opened late folds the whole journal and shows everything; a replayed log folds to the
same. Nothing here reads a clock: ages are the viewer's, from the times of records.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from fedtui import events
from fedtui.events import RoundEnded
from fedtui.record import Record

SiteState = Literal[
    "WAITING", "PREPARING", "TRAINING", "EVALUATING", "ANSWERED", "REFUSED", "SILENT"
]
RunState = Literal["RUNNING", "PAUSED", "COMPLETED", "FAILED", "STOPPED"]
# Codes of a link that works, and over which the coordinator does not let this site in.
BELONGING = ("pending", "suspended", "revoked", "left", "stranger", "forged")
_KEPT_ALARMS = 20
_KEPT_EARLY = 100  # a second of a site's own work, before the news of its run arrives
_BUSY: dict[str, SiteState] = {
    "prepare": "PREPARING",
    "train": "TRAINING",
    "evaluate": "EVALUATING",
    "validate": "EVALUATING",
    "exchange": "EVALUATING",
}
_OUTCOMES: dict[str, RunState] = {
    "completed": "COMPLETED",
    "failed": "FAILED",
    "stopped": "STOPPED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteProgress:
    """One site as the federation knows it.

    Attributes:
        state: What it does for the run; SILENT when the coordinator no longer hears it.
        step: Optimiser steps done in this round, of ``steps``.
        loss: Last training loss, in nats.
        metrics: Of its last evaluation.
        news: When the last record about it was written, seconds since 1970.
        seconds: Sums over the run, by part: train, transfer, total.
    """

    name: str
    state: SiteState = "WAITING"
    here: bool = True
    round: int = 0
    step: int = 0
    steps: int = 0
    examples: int = 0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    news: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """One run, from its submission to now.

    Attributes:
        round: The round under way, or the last one; 0 while preparing.
        asked: When the phase under way began, seconds since 1970.
        history: Every ended round, in order.
        left: What left this site in this run: how often and how many bytes, by kind.
        epsilon: Of record-level privacy, spent at this site so far, by RDP; None without.
    """

    run: str
    study: str
    fingerprint: str
    rounds: int
    metric: str
    train_sites: tuple[str, ...]
    interop: bool
    submitted: float
    state: RunState = "RUNNING"
    round: int = 0
    phase: str = "prepare"
    asked: float = 0.0
    ended: float | None = None
    cause: str = ""
    file: str = ""
    sites: dict[str, SiteProgress] = field(default_factory=dict)
    history: tuple[RoundEnded, ...] = ()
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0
    epsilon: float | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended, however."""
        return self.ended is not None

    @property
    def awaited(self) -> tuple[str, ...]:
        """Who has been asked and has not answered."""
        return tuple(s.name for s in self.sites.values() if s.state in (*_BUSY.values(), "SILENT"))

    @property
    def seconds_a_round(self) -> float | None:
        """Mean wall time of the last five rounds; None before the first has ended."""
        recent = [r.seconds["total"] for r in self.history[-5:] if "total" in r.seconds]
        return sum(recent) / len(recent) if recent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFinding:
    """What one check came to at a site.

    Attributes:
        state: OK, WARN, FAIL or UNKNOWN.
        words: Meaning and remedy; empty where nothing is wrong.
        since: When the site first came to this, seconds since 1970.
    """

    state: str
    code: str
    words: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything this home's journal tells.

    Attributes:
        seq: The last record folded in.
        runs: By id, in the order of submission.
        alarms: The last warnings and errors, oldest first.
        early: Records of a run that this journal does not know yet.
        processes: Process id of each of this home's processes that is up.
        device_memory: Bytes of the trainer's device; None where it does not say.
        link: Whether this site reaches the coordinator; None before any news of it.
        findings: What each site found last about its host and link, by site and check.
    """

    seq: int = 0
    time: float = 0.0
    site: str = ""
    roles: tuple[str, ...] = ()
    link: bool | None = None
    link_cause: str = ""
    link_code: str = ""
    address: str = ""
    device: str = ""
    device_memory: int | None = None
    processes: dict[str, int] = field(default_factory=dict)
    sites: dict[str, bool] = field(default_factory=dict)
    findings: dict[str, dict[str, SiteFinding]] = field(default_factory=dict)
    runs: dict[str, RunProgress] = field(default_factory=dict)
    alarms: tuple[Record, ...] = ()
    early: tuple[Record, ...] = ()

    @property
    def run(self) -> RunProgress | None:
        """The last run that was submitted."""
        return next(reversed(self.runs.values()), None)


def fold(records: Iterable[Record], start: Progress | None = None) -> Progress:
    """Every record in turn, from ``start`` or from nothing."""
    progress = start or Progress()
    for record in records:
        progress = advance(progress, record)
    return progress


def advance(progress: Progress, record: Record) -> Progress:
    """What is known after ``record``."""
    event = record.event
    progress = replace(progress, seq=record.seq, time=record.time)
    if event.level in ("WARN", "ERROR"):
        progress = replace(progress, alarms=(*progress.alarms, record)[-_KEPT_ALARMS:])
    run_id = getattr(event, "run", None)
    if isinstance(event, events.RunSubmitted):
        run = RunProgress(
            run=event.run,
            study=event.study,
            fingerprint=event.fingerprint,
            rounds=event.rounds,
            metric=event.metric,
            train_sites=event.train_sites,
            interop=event.interop,
            submitted=record.time,
            sites={
                name: SiteProgress(name=name, here=progress.sites.get(name, True))
                for name in event.sites
            },
        )
        for earlier in progress.early:
            if getattr(earlier.event, "run", None) == event.run:
                run = _in_run(run, earlier)
        return replace(progress, runs={**progress.runs, event.run: run}, early=())
    if run_id is not None:
        known = progress.runs.get(run_id)
        if known is None:  # the site's own work is journaled before the news of its run arrives
            early = (*_not_outdated(progress.early, event), record)
            return replace(progress, early=early[-_KEPT_EARLY:])
        return replace(progress, runs={**progress.runs, run_id: _in_run(known, record)})
    return _in_home(progress, record)


def _not_outdated(early: tuple[Record, ...], event: events.Event) -> tuple[Record, ...]:
    """``early`` without the report of progress that ``event`` makes out of date.

    Of reports that follow each other only the last of a site's round is kept, as
    ``Journal.outline`` reads them.
    """
    if isinstance(event, events.TrainingProgressed):
        for place in range(len(early) - 1, -1, -1):
            known = early[place].event
            if not isinstance(known, events.TrainingProgressed):
                break
            if (known.run, known.round, known.site) == (event.run, event.round, event.site):
                return early[:place] + early[place + 1 :]
    return early


def _in_home(progress: Progress, record: Record) -> Progress:
    match record.event:
        case events.SiteCreated(site=site, roles=roles):
            return replace(progress, site=site, roles=roles)
        case events.FederationJoined(address=address):
            return replace(progress, address=address)
        case events.LinkChanged(up=up, cause=cause, code=code):
            return replace(progress, link=up, link_cause=cause, link_code=code)
        case events.LinkChecked() as event:
            before = progress.findings.get(event.site, {})
            found = {**before, **_found(before, event, record.time)}
            return replace(progress, findings={**progress.findings, event.site: found})
        case events.DeviceReported(device=device, count=count, memory_bytes=memory):
            return replace(progress, device=f"{count} x {device}", device_memory=memory)
        case events.ProcessStarted(process=process, pid=pid):
            return replace(progress, processes={**progress.processes, process: pid})
        case events.ProcessEnded(process=process):
            left = {name: pid for name, pid in progress.processes.items() if name != process}
            if process == "agent":  # a trainer never outlives its agent
                left.pop("trainer", None)
            return replace(progress, processes=left)
        case events.SiteSeen(site=site, here=here):
            run = progress.run
            runs = progress.runs
            if run is not None and not run.over and site in run.sites:
                news = record.time if here else run.sites[site].news  # silence is no news
                seen = replace(run.sites[site], here=here, news=news)
                runs = {**runs, run.run: replace(run, sites={**run.sites, site: seen})}
            return replace(progress, sites={**progress.sites, site: here}, runs=runs)
    return progress


def _found(
    before: dict[str, SiteFinding], event: events.LinkChecked, time: float
) -> dict[str, SiteFinding]:
    """The checks that ``event`` tells of; one that came to the same again keeps its time."""
    found = {}
    for check, told in event.findings.items():
        state, _, code = told.partition(" ")
        known = before.get(check)
        same = known is not None and (known.state, known.code) == (state, code)
        since = known.since if known is not None and same else time
        words = event.unwell.get(check, "")
        found[check] = SiteFinding(state=state, code=code, words=words, since=since)
    return found


def _in_run(run: RunProgress, record: Record) -> RunProgress:
    match record.event:
        case events.PhaseStarted(round=round, phase=phase, sites=asked):
            run = replace(run, round=round, phase=phase, asked=record.time)
            for name in asked:
                run = _site(run, name, state=_BUSY[phase], round=round, step=0, steps=0, trouble="")
            return run
        case events.TrainingProgressed() as event:
            if event.round != run.round or run.phase != "train":  # a late report
                return run
            return _site(
                run,
                event.site,
                step=event.step,
                steps=event.steps,
                loss=event.loss,
                news=record.time,
            )
        case events.AnswerReceived() as event:
            return _answered(run, event, record.time)
        case events.AnswerRefused() as event:
            return _site(run, event.site, state="REFUSED", trouble=event.cause, news=record.time)
        case events.RoundEnded() as event:
            return replace(run, history=(*run.history, event), round=event.round)
        case events.RunPaused(paused=paused):
            return replace(run, state="PAUSED" if paused else "RUNNING")
        case events.RunEnded() as event:
            run = replace(
                run,
                state=_OUTCOMES[event.outcome],
                ended=record.time,
                cause=event.cause,
                file=event.file,
            )
            for name in run.sites:
                run = _site(run, name, state="WAITING")
            return run
        case events.Released(kind=kind, bytes=size):
            often, total = run.left.get(kind, (0, 0))
            return replace(run, left={**run.left, kind: (often + 1, total + size)})
        case events.PrivacySpent(epsilon=epsilon):
            return replace(run, epsilon=epsilon)
        case events.WorkAnswered() as event:
            return replace(
                run,
                bytes_sent=run.bytes_sent + event.bytes_sent,
                bytes_received=run.bytes_received + event.bytes_received,
            )
    return run


def _answered(run: RunProgress, event: events.AnswerReceived, time: float) -> RunProgress:
    before = run.sites.get(event.site)
    if before is None:
        return run
    seconds = dict(before.seconds)
    if event.phase == "train":
        for part, value in event.seconds.items():
            seconds[part] = seconds.get(part, 0.0) + value
        return _site(
            run,
            event.site,
            state="ANSWERED",
            examples=event.examples,
            loss=event.metrics.get("loss", before.loss),
            seconds=seconds,
            step=before.steps,
            news=time,
        )
    metrics = event.metrics if event.phase == "evaluate" else before.metrics
    return _site(run, event.site, state="ANSWERED", metrics=metrics, news=time)


def _site(run: RunProgress, name: str, **changes: object) -> RunProgress:
    before = run.sites.get(name)
    if before is None:
        return run
    return replace(run, sites={**run.sites, name: replace(before, **changes)})  # type: ignore[arg-type]


def shown_state(site: SiteProgress) -> SiteState:
    """The state as a screen says it: a site that is no longer heard is SILENT, whatever it did."""
    return site.state if site.here else "SILENT"
