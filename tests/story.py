"""A federation's events, told by hand: two sites, three rounds, then halland falls silent."""

from collections.abc import Iterable
from pathlib import Path

from fedtui import events, journal
from fedtui.checks import Finding, State
from fedtui.events import Event
from fedtui.journal import Journal
from fedtui.record import Record
from fedtui.report.comparison import compare
from fedtui.site import Home
from fedtui.tui import actions
from fedtui.tui.checking import Checkup
from fedtui.tui.desk import Desk

RUN = "digits-261123-100000"
START = 1_795_428_000.0  # 2026-11-23 10:00:00 UTC
SITES = ("halland", "sahlgrenska")
JOINED: tuple[tuple[float, Event], ...] = (
    (0.0, events.SiteCreated(site="sahlgrenska", roles=("site", "coordinator"), key="0595:f723")),
    (0.1, events.SiteInvited(site="halland", key="0e72:381c")),
    (1.0, events.ProcessStarted(process="coordinator", pid=4001, version="0.1.0")),
    (1.5, events.ProcessStarted(process="agent", pid=4002, version="0.1.0")),
    (2.0, events.LinkChanged(up=True, code="", cause="attached")),
    (2.0, events.SiteSeen(site="sahlgrenska", here=True)),
    (2.1, events.DeviceReported(device="cpu", count=1, memory_bytes=None)),
    (3.0, events.SiteSeen(site="halland", here=True)),
    (
        4.0,
        events.RunSubmitted(
            run=RUN,
            study="digits",
            fingerprint="f21d27226b96cd85" * 4,
            sites=SITES,
            train_sites=SITES,
            rounds=10,
            metric="accuracy",
        ),
    ),
)


def round_(number: int, at: float) -> list[tuple[float, Event]]:
    """One round of four seconds in which both sites train and evaluate."""
    accuracy, loss = 1 - 0.5 / number, 2.0 / number
    told: list[tuple[float, Event]] = [
        (at, events.PhaseStarted(run=RUN, round=number, phase="train", sites=SITES))
    ]
    for offset, site in enumerate(SITES, start=1):
        told.append((at + offset / 2, progressed(number, site, 18)))
        told.append((at + offset, answered(number, "train", site, {"loss": loss})))
    told.append((at + 2.0, released(number, "model update", 35_880)))
    told.append(
        (at + 2.5, events.PhaseStarted(run=RUN, round=number, phase="evaluate", sites=SITES))
    )
    by_site = {}
    for offset, site in enumerate(SITES):
        by_site[site] = {"accuracy": accuracy - 0.05 + offset / 10, "loss": loss + offset / 5}
        told.append((at + 3 + offset / 5, answered(number, "evaluate", site, by_site[site])))
    told.append((at + 3.4, released(number, "metrics", 320)))
    ended = events.RoundEnded(
        run=RUN,
        round=number,
        metrics={"accuracy": accuracy, "loss": loss + 0.1},
        by_site=by_site,
        examples=1132,
        seconds={"train": 2.0, "transfer": 0.5, "waiting": 1.0, "total": 4.0},
    )
    return [*told, (at + 4.0, ended)]


def progressed(number: int, site: str, step: int) -> Event:
    return events.TrainingProgressed(
        run=RUN, round=number, site=site, step=step, steps=18, loss=1.5 / number, examples=560
    )


def answered(number: int, phase: events.Phase, site: str, metrics: dict[str, float]) -> Event:
    return events.AnswerReceived(
        run=RUN,
        round=number,
        phase=phase,
        site=site,
        examples=569,
        metrics=metrics,
        seconds={"train": 1.0, "transfer": 0.2, "total": 1.2},
    )


def released(number: int, kind: str, size: int) -> Event:
    return events.Released(
        run=RUN,
        round=number,
        kind=kind,
        recipient="coordinator 127.0.0.1:8443",
        fingerprint="f21d",
        bytes=size,
    )


def told(rounds: int = 3) -> list[tuple[float, Event]]:
    """From the site's making to the end of a round."""
    return [*JOINED, *(pair for n in range(1, rounds + 1) for pair in round_(n, 1.0 + 4.0 * n))]


def silence(rounds: int = 3) -> list[tuple[float, Event]]:
    """The next round: sahlgrenska answers, halland is killed."""
    at = 5.0 + 4.0 * rounds
    return [
        (at, events.PhaseStarted(run=RUN, round=rounds + 1, phase="train", sites=SITES)),
        (at + 1.0, progressed(rounds + 1, "halland", 6)),
        (at + 1.5, answered(rounds + 1, "train", "sahlgrenska", {"loss": 0.4})),
        (at + 6.0, events.SiteSeen(site="halland", here=False)),
    ]


def end(outcome: events.Outcome = "completed") -> Event:
    return events.RunEnded(run=RUN, outcome=outcome, cause="all 10 rounds done")


def records(pairs: Iterable[tuple[float, Event]]) -> list[Record]:
    """The events as a journal would hold them, at fixed times."""
    return [
        Record(
            seq=seq, time=START + at, source="coordinator", origin=0, event=event, hash=bytes(32)
        )
        for seq, (at, event) in enumerate(pairs, start=1)
    ]


def write(path: Path, pairs: Iterable[tuple[float, Event]]) -> Path:
    """A journal with the events, as of now."""
    journal.create(path)
    book = Journal(path, source="coordinator")
    book.append_all([(event, 0) for _, event in pairs])
    book.close()
    return path


def home(path: Path, pairs: Iterable[tuple[float, Event]] = ()) -> Path:
    """A home whose journal tells the events; no process runs in it."""
    path.mkdir(exist_ok=True)
    (path / "site.toml").write_text('name = "sahlgrenska"\nroles = ["site", "coordinator"]\n')
    write(path / "journal.db", pairs)
    return path


def checked() -> list[tuple[float, Event]]:
    """Both sites check their links; halland's goes bad six seconds later."""
    well = {"tcp": "OK tcp-ok", "tls": "OK tls-ok", "hello": "OK hello-ok"}
    said = "The certificate was made by the site's own proxy. Ask for an exception from inspection."
    bad = {"tls": "FAIL tls-intercepted"}
    return [
        (4.5, events.LinkChecked(site="sahlgrenska", findings=well, unwell={})),
        (4.6, events.LinkChecked(site="halland", findings=well, unwell={})),
        (10.6, events.LinkChecked(site="halland", findings=bad, unwell={"tls": said})),
    ]


def checkup() -> Checkup:
    """What sahlgrenska's checks came to: a closed port."""
    ticket = "\n".join(
        [
            "Request:   open outbound TCP to fl.example.org:8443",
            "From:      vm17 (10.1.2.3)",
            "To:        fl.example.org (192.0.2.10), TCP port 8443",
            "Direction: outbound only, direct; nothing connects inwards",
            "Protocol:  TLS 1.3 (1.2 accepted) with the federation's own authority",
            "Evidence:  connection refused after 0.00 s",
        ]
    )
    refused = Finding(
        check="tcp",
        state=State.FAIL,
        code="tcp-refused",
        measured="refused after 0.00 s",
        threshold="connection accepted (TCP handshake)",
        meaning="192.0.2.10 answers, but port 8443 is closed: the coordinator is not running, or "
        "a firewall refuses in its name. One end cannot tell these apart.",
        remedy="Ask the coordinator's operator whether it runs. If it does, give the ticket to "
        "both network teams.",
        ticket=ticket,
        seconds=0.003,
    )
    slow = Finding(
        check="dns",
        state=State.WARN,
        code="dns-slow",
        measured="1.2 s",
        meaning="Names are found, but slowly.",
        remedy="Ask for a nearer name server.",
        seconds=1.2,
    )
    fine = [
        Finding(
            check=name,
            state=State.OK,
            code=f"{name}-ok",
            measured="as it should be",
            meaning="Well.",
            seconds=0.01,
        )
        for name in ("config", "cpu", "disk", "filesystem", "memory", "permissions", "proxy")
    ]
    skipped = [
        Finding(check=name, state=State.SKIP, code="needs", meaning="Not measured: needs tcp.")
        for name in ("tls", "hello", "clock", "version", "identity")
    ]
    return Checkup(findings=(refused, slow, *fine, *skipped), time=START + 30.0)


WORDS = "amber river candle forty maple stone"
TEXT = [
    "CHANGED SINCE v1",
    "rounds: 20 becomes 40",
    "privacy.epsilon: nothing becomes 8.0",
    "",
    "Study SEPSIS-1 v2: PROPOSED",
    "fingerprint 9f1ce2aa04d1c377",
    "",
    "purpose          Early warning of sepsis on the ward",
    "sites            halland (Anna Berg approves), sahlgrenska (Erik Ek",
    "                 approves)",
    *(f"clause {number:<10}what the sites agree on, in words" for number in range(1, 31)),
    "",
    "Rows and images stay at the site.",
]


def desk() -> Desk:
    """What lies on sahlgrenska's desk: a roster in every state, two studies, a validation."""
    key = "0e72:381c:93d1:f4e8:b384:9bb3:8c96:42a0:66a3:ee45:6a76:b551"
    roster = (
        {"site": "sahlgrenska", "state": "enrolled", "key": key},
        {"site": "halland", "state": "enrolled", "key": key},
        {
            "site": "karolinska-universitets", "state": "pending", "key": key, "words": WORDS,
            "origin": "192.0.2.77",
        },
        {
            "site": "lund", "state": "invited", "key": "", "until": "2026-11-26 10:00 UTC",
            "tries_left": 5,
        },
        {"site": "orebro", "state": "suspended", "key": key},
        {"site": "umea", "state": "revoked", "key": key},
        {"site": "vasa", "state": "expired", "key": ""},
    )  # fmt: skip
    said = {"person": "", "reason": ""}
    mixed = {"halland": {"said": "approved", **said}, "sahlgrenska": {"said": "missing", **said}}
    old = {"halland": {"said": "approved", **said}, "sahlgrenska": {"said": "declined", **said}}
    studies = (
        _study(version=2, newest=True, state="proposed", sites=mixed),
        _study(version=1, newest=False, state="declined", sites=old),
    )
    texts = {"SEPSIS-1@2": "\n".join(TEXT), "SEPSIS-1@1": "\n".join(TEXT[:3])}
    return Desk(
        roster=roster,
        studies=studies,
        texts=texts,
        comparison=compare(RUN, validated()),
        read=(actions.JOIN, actions.AGREEMENT, actions.VALIDATE),
    )


def _study(**changes: object) -> dict[str, object]:
    fixed = {
        "id": "SEPSIS-1",
        "proposed_by": "sahlgrenska",
        "approver": "Erik Ek",
        "expires": "2099-12-31",
    }
    return {**fixed, "fingerprint": f"9f1ce2aa04d1c377{changes['version']}" * 4, **changes}


def validated(*, over: bool = True) -> list[Event]:
    """Both sites judge the joint model and their own; halland answers first."""
    told: list[Event] = [events.ValidationStarted(run=RUN, attempt=1, sites=SITES)]
    told += [_judged("halland", "federated", 0.86, 1.2, 0.03, -0.01)]
    told += [_judged("halland", "local:halland", 0.83, 0.7, 0.0, 0.0)]
    if not over:
        return told
    told += [_judged("sahlgrenska", "federated", 0.88, 0.9, 0.04, 0.02)]
    told += [_judged("sahlgrenska", "local:sahlgrenska", 0.84, 1.1, 0.0, 0.0)]
    ended = events.ValidationEnded(
        run=RUN,
        attempt=1,
        outcome="completed",
        cause="every site has answered",
        pooled={"area": 0.87, "low": 0.868, "high": 0.873},
        pooled_sites=SITES,
    )
    return [*told, ended]


def _judged(
    site: str, model: str, auroc: float, slope: float, better: float, surely: float
) -> Event:
    metrics = {"auroc": auroc, "calibration_slope": slope, "calibration_error": 0.04}
    joint = model == "federated"
    return events.ModelValidated(
        run=RUN,
        attempt=1,
        site=site,
        model=model,
        primary="auroc",
        patients=815,
        outcomes=(740, 75),
        metrics=dict(metrics),
        low={name: value - 0.03 for name, value in metrics.items()},
        high={name: value + 0.03 for name, value in metrics.items()},
        difference={"auroc": better} if joint else {},
        difference_low={"auroc": surely} if joint else {},
        difference_high={"auroc": 2 * better - surely} if joint else {},
    )


NOWHERE = Home(Path("/nonexistent/home"))  # for screens that would order: nothing can


def large(sites: int = 50, rounds: int = 10_000) -> list[Event]:
    """A run of many sites over many rounds, as the coordinator's journal tells it."""
    names = tuple(f"site-{n:02}" for n in range(sites))
    told: list[Event] = [
        events.SiteCreated(site=names[0], roles=("site", "coordinator"), key="0595:f723"),
        events.RunSubmitted(
            run=RUN,
            study="digits",
            fingerprint="f21d27226b96cd85" * 4,
            sites=names,
            train_sites=names,
            rounds=rounds,
            metric="accuracy",
        ),
    ]
    for n in range(1, rounds + 1):
        metrics = {"accuracy": 1 - 0.5 / n, "loss": 2 / n}
        seconds = {"train": 2.0, "transfer": 0.5, "waiting": 1.0, "total": 4.0 + n % 7}
        told.append(
            events.RoundEnded(
                run=RUN,
                round=n,
                metrics=metrics,
                by_site=dict.fromkeys(names, metrics),
                examples=1132,
                seconds=seconds,
            )
        )
    return told
