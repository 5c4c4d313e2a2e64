"""The leakage gate: audits ordered at the agent, overrides signed by a person, and what may leave.

A verdict is this site's newest ``LeakageAudited`` of a model; an override counts only for the very
parameters that it names. PASS and WARN may leave; BLOCK and NOT ASSESSABLE need an override.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtui import errors, events, journal, orders, persons, processes, site
from fedtui.agreement import Decision
from fedtui.errors import RunError, TrustError, UsageError
from fedtui.events import LeakageAudited, LeakageOverridden
from fedtui.journal import Journal
from fedtui.register import Register
from fedtui.site import Home

RELEASES = ("PASS", "WARN")
LONGEST_REASON = 500  # characters
_SILENT_SECONDS = 10.0  # between two looks at whether the agent lives
_LEAST_REASON = 10  # characters: 'ok' is none
Tell = Callable[[int, int], None]


def audit_leakage(
    home: Home,
    run_id: str = "",
    *,
    object: events.Audited,
    seconds: float = 60.0,
    bundle: Path | None = None,
    again: bool = True,
    tell: Tell | None = None,
) -> LeakageAudited:
    """Have the site's trainer attack a model, and wait for the verdict.

    Args:
        run_id: Default the last run that left such a model.
        seconds: For training the models that it is compared with.
        bundle: Where to leave logits and membership for other tools; it must not exist.
        again: Also where this very model was audited before.
        tell: Called with pieces of work done, and in all.

    Raises:
        UsageError: there is no such model here, or no agent.
        BusyError: the site is at work.
        OperatorError: what ended the audit before its time.
    """
    site.load(home)
    if bundle is not None:
        _check_free(bundle)
    answer = orders.order(
        home,
        "agent",
        "audit",
        run=run_id,
        object=object,
        seconds=seconds,
        bundle="" if bundle is None else str(bundle.absolute()),
        again=again or bundle is not None,
    )
    if known := answer.get("audited"):
        event = events.from_fields(known)
        assert isinstance(event, LeakageAudited)
        return event
    return _awaited(home, answer, tell)


def sign_override(
    home: Home, audited: LeakageAudited, *, reason: str, signer: str, passphrase: str
) -> LeakageOverridden:
    """A person's word that the audited model may leave, journaled.

    Args:
        signer: Whose key in this home; '' where there is one alone.

    Raises:
        UsageError: nothing needs an override, a reason that says nothing, no such key.
        TrustError: the passphrase is wrong, or the study names another approver here.
    """
    if audited.verdict in RELEASES:
        raise UsageError(
            f"The audit says {audited.verdict}: nothing is to be overridden.",
            remedy="Leave --override out.",
        )
    if not _LEAST_REASON <= len(reason.strip()) <= LONGEST_REASON or not reason.isprintable():
        raise UsageError(
            f"A reason has {_LEAST_REASON} to {LONGEST_REASON} characters, on one line.",
            remedy="Say why this model may leave, for whoever reviews it in some years.",
        )
    signer = signer or _only_person(home)
    key = persons.load(persons.file_of(home.persons, signer), passphrase)
    override = LeakageOverridden(
        run=audited.run,
        round=audited.round,
        object=audited.object,
        vector=audited.vector,
        verdict=audited.verdict,
        reason=reason.strip(),
        signer=signer,
        key=persons.public_text(key),
        signature=persons.sign(key, _text(audited, reason.strip(), signer)),
    )
    if not _may_sign(home, audited, override):
        raise TrustError(
            f"{signer} is not who approved this study here.",
            remedy="Have its approver at this site sign; 'fedtui study show' names them.",
        )
    book = Journal(home.journal, source="operator")
    try:
        book.append(override)
    finally:
        book.close()
    return override


def verdict_allows_release(
    verdict: LeakageAudited | None, override: LeakageOverridden | None = None
) -> bool:
    """Whether a model with this verdict may leave: by itself, or by a signed override of it."""
    if verdict is None:
        return False
    if verdict.verdict in RELEASES:
        return True
    if override is None or (override.vector, override.verdict) != (verdict.vector, verdict.verdict):
        return False
    text = _text(verdict, override.reason, override.signer)
    return persons.is_signed(override.key, override.signature, text)


def leakage(
    home: Home, run_id: str, object: events.Audited
) -> tuple[LeakageAudited | None, LeakageOverridden | None]:
    """The newest verdict on a run's model here, and the newest valid override of it."""
    book = Journal(home.journal, source="viewer")
    try:
        records = book.own(("LeakageAudited", "LeakageOverridden"))
    finally:
        book.close()
    found = [
        record.event
        for record in records
        if isinstance(record.event, LeakageAudited | LeakageOverridden)
        and (record.event.run, record.event.object) == (run_id, object)
    ]
    audited = next((e for e in reversed(found) if isinstance(e, LeakageAudited)), None)
    if audited is None:
        return None, None
    override = next(
        (
            e
            for e in reversed(found)
            if isinstance(e, LeakageOverridden)
            and verdict_allows_release(audited, e)
            and _may_sign(home, audited, e)
        ),
        None,
    )
    return audited, override if audited.verdict not in RELEASES else None


def leakage_refusal(home: Home, run_id: str, object: events.Audited, *, vector: str = "") -> str:
    """Why a run's model may not leave this site, as a clause; empty if it may.

    Args:
        vector: Hex sha256 of what is to leave; '' where only the run is known.
    """
    how = {"global model": "global", "local update": "local", "local model": "alone"}[object]
    command = f"'fedtui audit leakage {run_id} --object {how}'"
    audited, override = leakage(home, run_id, object)
    if audited is None or (vector and audited.vector != vector):
        return f"its leakage was not audited: run {command}"
    if verdict_allows_release(audited, override):
        return ""
    return f"its leakage audit says {audited.verdict}: see {command}, or sign an --override"


def _check_free(bundle: Path) -> None:
    """Refuse, before a minute's work, what could not be written after it."""
    if bundle.exists() or not os.access(bundle.absolute().parent, os.W_OK):
        cause = "exists already" if bundle.exists() else "cannot be written"
        raise UsageError(f"{bundle} {cause}.", remedy="Give --bundle a new file.")


def _awaited(home: Home, ordered: dict[str, Any], tell: Tell | None) -> LeakageAudited:
    run, kind, looked = ordered["run"], ordered["object"], time.monotonic()
    gone = False

    def over() -> bool:
        nonlocal looked, gone
        if time.monotonic() - looked > _SILENT_SECONDS:
            looked = time.monotonic()
            gone = processes.running(home, "agent") is None
        return gone

    for record in journal.follow(home.journal, after=int(ordered["after"]), stop=over):
        event = record.event
        if isinstance(event, events.ProcessStarted) and event.process == "agent":
            break
        if getattr(event, "run", "") != run or getattr(event, "object", "") != kind:
            continue
        if isinstance(event, events.AuditProgressed) and tell is not None:
            tell(event.step, event.steps)
        if isinstance(event, events.AuditFailed):
            raise errors.from_json(
                {"error": event.error, "message": event.message, "remedy": event.remedy}
            )
        if isinstance(event, LeakageAudited):
            return event
    raise RunError(
        "The agent ended before the audit did.",
        remedy="Order it again with 'fedtui audit leakage'.",
    )


def _may_sign(home: Home, audited: LeakageAudited, override: LeakageOverridden) -> bool:
    """Whether the study leaves it to this person and key here, as far as it names anybody."""
    register = Register(home.studies)
    entry = next((e for e in register.entries() if e.fingerprint == audited.fingerprint), None)
    if entry is None or not entry.study.approvers:
        return True
    own = site.load(home).name
    standing = register.standings(entry.study, entry.fingerprint).get(own)
    if standing is None or standing.said != "approved" or standing.person != override.signer:
        return False
    return any(
        isinstance(d.body, Decision)
        and (d.body.fingerprint, d.body.site, d.body.serial, d.body.key)
        == (entry.fingerprint, own, standing.serial, override.key)
        for d in register.documents()
    )


def _only_person(home: Home) -> str:
    names = sorted(path.stem for path in home.persons.glob("*.pem"))
    if len(names) != 1:
        raise UsageError(
            "Who signs?" if names else "Nobody has a key in this home.",
            remedy="Name one with --as NAME."
            if names
            else "Make one with 'fedtui study key NAME', as that person.",
        )
    return names[0]


def _text(audited: LeakageAudited, reason: str, signer: str) -> bytes:
    """What a person signs: the model, what the audit said of it, and why it may leave."""
    parts = (
        "fedtui-leakage-override-1",
        audited.run,
        str(audited.round),
        audited.object,
        audited.vector,
        audited.fingerprint,
        audited.verdict,
        signer,
        reason,
    )
    return "\n".join(parts).encode()
