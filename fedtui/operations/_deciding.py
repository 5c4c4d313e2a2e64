"""Deciding on studies, for both doors: who proposes, approves, declines, withdraws.

Everything is written into the home first, then sent by the agent: at once if it runs and reaches
the coordinator, else as soon as it does.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import orders, processes, site, study
from fedtui.errors import NetworkError, PrivacyError, TrustError, UsageError
from fedtui.identifiers import scrubbed
from fedtui.operations._examining import examine_data
from fedtui.operations._studies import register_of, study_named, today
from fedtui.site import Home, Site
from fedtui.study import Study

if TYPE_CHECKING:  # cryptography: 60 ms that `status` does not need
    from fedtui import agreement
    from fedtui.register import Entry, Register


def propose_study(home: Home, agreed: Study) -> dict[str, Any]:
    """Put a study to all sites, signed by this one; returns id, fingerprint and whether it is sent.

    Raises:
        UsageError: this site is neither in the study nor the coordinator.
        PrivacyError: its words hold a personal number.
    """
    from fedtui import agreement, keys

    own = site.load(home)
    if own.name not in agreed.sites:
        raise UsageError(
            f"Study {agreed.id} does not name {own.name}.",
            remedy="Propose it from one of its sites, or add this one under sites.",
        )
    _clean(study.canonical(agreed).decode())
    key = keys.load_private(home.keys / "node.key")
    register = _own_register(home, own)
    register.own(own.name, key.public_key())
    register.post(agreement.propose(agreed, site=own.name, key=key, time=_now()))
    return {
        "id": agreed.id,
        "fingerprint": study.fingerprint(agreed),
        "sent": send_decisions(home),
    }


def approve_study(
    home: Home, name: str, *, person: str, passphrase: str, key: Path | None = None
) -> dict[str, Any]:
    """Sign a study as ``person``, after this site's data passed their check against it.

    Args:
        key: That person's key file; by default the one of that name in this home.

    Raises:
        DataError: the data do not fit the study; nothing is signed.
        TrustError: the passphrase is wrong, or the study names somebody else, is expired or of
            another fedtui.
        UsageError: no such study or key, or it does not name this site.
    """
    entry, own = _entry(home, name)
    agreed = entry.study
    if study.fingerprint(agreed) != entry.fingerprint:
        raise TrustError(
            f"Study {agreed.id} was proposed under another protocol or numeric code than this "
            "site has.",
            remedy="Bring both to the same fedtui, then have it proposed anew.",
        )
    if agreed.expired(today()):
        raise TrustError(
            f"Study {agreed.id} expired on {agreed.expires}.",
            remedy="Have it proposed anew with a later date.",
        )
    if (named := agreed.approvers.get(own.name, person)) != person:
        raise TrustError(
            f"The study names {named} to approve for {own.name}, and not {person}.",
            remedy=f"Have {named} sign, or propose a version that names {person}.",
        )
    told = examine_data(home, agreed.data, agreed)
    return _decide(home, entry, "approve", person, passphrase, key, told=told)


def decline_study(
    home: Home, name: str, *, reason: str, person: str, passphrase: str, key: Path | None = None
) -> dict[str, Any]:
    """Refuse a study as ``person``, for a reason that all sites read.

    Raises:
        UsageError: no such study or key, no reason, or it does not name this site.
        TrustError: the passphrase is wrong.
        PrivacyError: the reason holds a personal number.
    """
    if not reason.strip():
        raise UsageError("A decline needs a reason.", remedy="Say it with --reason.")
    entry, _ = _entry(home, name)
    return _decide(home, entry, "decline", person, passphrase, key, reason=reason.strip())


def withdraw_study(
    home: Home,
    name: str,
    *,
    reason: str = "",
    person: str = "",
    passphrase: str = "",
    key: Path | None = None,
) -> dict[str, Any]:
    """Take this site's approval back: it refuses the next message of any run of the study.

    Args:
        person: Empty: the site itself withdraws, for when nobody who may sign is there.

    Raises:
        UsageError: no such study or key, or it does not name this site.
        TrustError: the passphrase is wrong.
        PrivacyError: the reason holds a personal number.
    """
    entry, _ = _entry(home, name)
    return _decide(home, entry, "withdraw", person, passphrase, key, reason=reason.strip())


def create_person(home: Home, person: str, passphrase: str) -> Path:
    """Make a person's own key in this home; returns its file."""
    from fedtui import persons

    site.load(home)
    return persons.create(home.persons, person, passphrase)


def has_person(home: Home, person: str) -> bool:
    """Whether this home holds a key of that person."""
    from fedtui import persons

    return persons.file_of(home.persons, person).exists()


def approver_of(home: Home, name: str) -> str:
    """Whom a study names to approve for this site; empty where it names nobody."""
    return study_named(home, name).approvers.get(site.load(home).name, "")


def send_decisions(home: Home) -> bool:
    """Have the agent exchange documents with the coordinator now; whether it did.

    Raises:
        OperatorError: what the coordinator refused, in its own words.
    """
    if processes.running(home, "agent") is None:
        return False
    try:
        orders.order(home, "agent", "studies")
    except NetworkError:
        return False
    return True


def account() -> tuple[int, str]:
    """Who runs this command: the account that was logged in, also behind sudo."""
    import pwd

    uid = int(os.environ.get("SUDO_UID") or os.getuid()) if os.getuid() == 0 else os.getuid()
    try:
        return uid, pwd.getpwuid(uid).pw_name
    except KeyError:  # e.g. an account of a directory that is not reached now
        return uid, ""


def _decide(
    home: Home,
    entry: "Entry",
    word: "agreement.Word",
    person: str,
    passphrase: str,
    key: Path | None,
    *,
    reason: str = "",
    told: dict[str, Any] | None = None,
) -> dict[str, Any]:
    from fedtui import agreement, events, keys, persons
    from fedtui.journal import Journal

    own = site.load(home)
    register = _own_register(home, own)
    _clean(reason)
    if len(reason) > agreement.LONGEST_REASON or not reason.isprintable():
        raise UsageError(
            f"A reason is one line of at most {agreement.LONGEST_REASON} characters.",
            remedy="Say it in fewer words.",
        )
    signer = None
    if person:
        signer = persons.load(key or persons.file_of(home.persons, person), passphrase)
    decision = agreement.Decision(
        word=word,
        study=entry.study.id,
        fingerprint=entry.fingerprint,
        protocol=study.PROTOCOL,
        code=study.numeric_code(),
        site=own.name,
        person=person,
        key="" if signer is None else persons.public_text(signer),
        serial=register.serial(entry.fingerprint, own.name),
        time=_now(),
        nonce=os.urandom(16).hex(),
        reason=reason,
    )
    signature = "" if signer is None else persons.sign(signer, agreement.to_sign(decision))
    node = keys.load_private(home.keys / "node.key")
    document = agreement.decide(decision, person=signature, key=node)
    uid, user = account()
    patients = (told or {}).get("patients")
    book = Journal(home.journal, source="operator")
    try:
        book.append(
            events.DecisionSigned(
                study=entry.study.id,
                fingerprint=entry.fingerprint,
                word=word,
                person=person,
                uid=uid,
                user=user,
                purpose=entry.study.purpose,
                legal_basis=entry.study.legal_basis,
                cohort=(told or {}).get("cohort", ""),
                patients=patients
                if patients is not None and patients >= own.limits.minimum_cell
                else None,
            )
        )
    finally:
        book.close()
    register.own(own.name, node.public_key())
    register.post(document)
    return {
        "id": entry.study.id,
        "version": entry.version,
        "fingerprint": entry.fingerprint,
        "word": word,
        "person": person,
        "sent": send_decisions(home),
    }


def _entry(home: Home, name: str) -> "tuple[Entry, Site]":
    own = site.load(home)
    entry = register_of(home).entry(name)
    if own.name not in entry.study.sites:
        raise UsageError(
            f"Study {entry.study.id} does not name {own.name}.", remedy="Nothing to decide here."
        )
    return entry, own


def _own_register(home: Home, own: Site) -> "Register":
    from fedtui.register import Register

    if not own.trains:
        raise UsageError(
            f"{own.name} only coordinates: it takes no part in studies.",
            remedy="Do this at one of the study's sites.",
        )
    return Register(home.studies)


def _clean(words: str) -> None:
    if scrubbed(words) != words:
        raise PrivacyError(
            "The words hold what looks like a person's number.",
            remedy="Take it out: all sites keep what is said about a study.",
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
