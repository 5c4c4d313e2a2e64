"""Agreeing on a study, for both doors: who proposes, reads, approves, declines, withdraws.

Everything is written into the home first, then sent by the agent: at once if it runs and reaches
the coordinator, else as soon as it does.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import errors, orders, processes, site, study
from fedtui.errors import (
    DataError,
    NetworkError,
    PrivacyError,
    TrustError,
    UsageError,
)
from fedtui.identifiers import scrubbed
from fedtui.site import Home, Site
from fedtui.study import Study

if TYPE_CHECKING:  # cryptography: 60 ms that `status` does not need
    from fedtui import agreement
    from fedtui.agreement import Measured, Paper
    from fedtui.register import Entry, Register

_EXAMINE_SECONDS = 600.0  # a hospital's tables are read through, and JAX is loaded


def studies(home: Home) -> list[dict[str, Any]]:
    """Every version of every study that this home knows, oldest first.

    Each has id, version, newest, state (proposed, approved, declined, withdrawn, expired), the
    proposing site, time, fingerprint, and by site what it said.
    """
    register = _register(home)
    found = []
    for entry in register.entries():
        standings = register.standings(entry.study, entry.fingerprint)
        paper = _paper(home, register, entry, standings)
        found.append(
            {
                "id": entry.study.id,
                "version": entry.version,
                "newest": entry.newest,
                "state": paper.state,
                "proposed_by": entry.site,
                "proposed": entry.time,
                "fingerprint": entry.fingerprint,
                "expires": entry.study.expires or None,
                "sites": {
                    name: {"said": s.said, "person": s.person, "reason": s.reason}
                    for name, s in standings.items()
                },
            }
        )
    return found


def study_text(home: Home, name: str, *, width: int = 80) -> str:
    """A study in plain language, wrapped; ``name`` is an id, ID@2, a fingerprint or a file."""
    from fedtui import agreement

    return agreement.text(study_paper(home, name), width=width)


def study_document(home: Home, name: str) -> dict[str, Any]:
    """The same as one JSON document."""
    from fedtui import agreement

    return agreement.to_json(study_paper(home, name))


def study_paper(home: Home, name: str) -> "Paper":
    """Everything that a reader needs before signing, of a study known here or of a file."""
    register = _register(home)
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        agreed = study.load(path)
        fingerprint = study.fingerprint(agreed)
        entry = next((e for e in register.entries() if e.fingerprint == fingerprint), None)
        if entry is None:
            from fedtui.agreement import Paper

            return Paper(
                study=agreed,
                today=_today(),
                node_keys=_node_keys(register, agreed),
                coordinator=register.coordinator() or _coordinator(home),
                measured=_known_measure(home, fingerprint),
                spent=_spent(home, agreed),
            )
    else:
        entry = register.entry(name)
    found = register.standings(entry.study, entry.fingerprint)
    return _paper(home, register, entry, found)


def study_named(home: Home, name: str) -> Study:
    """The study that a file or, if there is none of that name, this home's register holds.

    Raises:
        UsageError: neither has it.
    """
    if Path(name).suffix == ".toml" or Path(name).is_file():
        return study.load(Path(name))
    return _register(home).entry(name).study


def study_changes(home: Home, before: str, after: str) -> "list[agreement.Change]":
    """Every clause that differs between two studies, each a file or known here."""
    from fedtui import agreement

    return agreement.changes(study_named(home, before), study_named(home, after))


def measure_study(home: Home, name: str) -> "Measured":
    """Read this site's data through for a study: they fit it, and the numbers that follow.

    What would fail in round 0 fails here. Takes seconds to minutes; the answer is kept.

    Raises:
        DataError: the data are not what the study wants; names file, column and row.
        UsageError: this site offers no such data set.
    """
    from fedtui.agreement import Measured

    agreed = study_named(home, name)
    told = examine_data(home, agreed.data, agreed)
    return Measured(
        features=told["features"],
        parameters=told["parameters"],
        epsilon=told.get("epsilon"),
        delta=told.get("delta"),
    )


def examine_data(home: Home, data: str, agreed: Study | None = None) -> dict[str, Any]:
    """What this site's own ``data`` say, alone or about a study: schema, features, and the like.

    Raises:
        DataError: they cannot be used, or have another schema than the study.
        UsageError: this site offers no such data set, or the study's parts do not fit each other.
    """
    own = site.load(home)
    source = own.data.get(data)
    if source is None:
        raise UsageError(
            f"This site offers no data set '{data}'.",
            remedy=f"Add [data.{data}] to {home.settings}, or decline the study.",
        )
    order = {
        "data": data,
        "source": {
            "path": str(source.path) if source.path else None,
            "part": source.part,
            "excluded": str(source.excluded) if source.excluded else None,
        },
        "secret": str(_secret(home)),
        "study": None if agreed is None else study.canonical(agreed).decode(),
    }
    told = _asked(home, order)
    if "failed" in told:
        raise errors.from_json(told["failed"])
    if agreed is not None:
        if agreed.schema and told["schema"] != agreed.schema:
            raise DataError(
                f"The data of {data} here have schema {told['schema'][:12]}, and study "
                f"{agreed.id} is of {agreed.schema[:12]}.",
                remedy="Bring names, units, ranges and classes to what was agreed on.",
            )
        _keep_measure(home, study.fingerprint(agreed), told)
    return told


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
    if agreed.expired(_today()):
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


def account() -> tuple[int, str]:
    """Who runs this command: the account that was logged in, also behind sudo."""
    import pwd

    uid = int(os.environ.get("SUDO_UID") or os.getuid()) if os.getuid() == 0 else os.getuid()
    try:
        return uid, pwd.getpwuid(uid).pw_name
    except KeyError:  # e.g. an account of a directory that is not reached now
        return uid, ""


def _entry(home: Home, name: str) -> "tuple[Entry, Site]":
    own = site.load(home)
    entry = _register(home).entry(name)
    if own.name not in entry.study.sites:
        raise UsageError(
            f"Study {entry.study.id} does not name {own.name}.", remedy="Nothing to decide here."
        )
    return entry, own


def _register(home: Home) -> "Register":
    """What this home knows: a site's own documents, at a lone coordinator the federation's."""
    from fedtui.register import Register

    return Register(home.studies if site.load(home).trains else home.register)


def _own_register(home: Home, own: Site) -> "Register":
    from fedtui.register import Register

    if not own.trains:
        raise UsageError(
            f"{own.name} only coordinates: it takes no part in studies.",
            remedy="Do this at one of the study's sites.",
        )
    return Register(home.studies)


def _paper(
    home: Home, register: "Register", entry: "Entry", found: "dict[str, agreement.Standing]"
) -> "Paper":
    from fedtui.agreement import Paper

    return Paper(
        study=entry.study,
        today=_today(),
        version=entry.version,
        found=found,
        node_keys=_node_keys(register, entry.study),
        coordinator=register.coordinator() or _coordinator(home),
        measured=_known_measure(home, entry.fingerprint),
        spent=_spent(home, entry.study),
    )


def _spent(home: Home, agreed: Study) -> str:
    """What was spent here on the data of a study under record-level privacy; empty of another."""
    from fedtui.operations._reports import spent

    if not agreed.privacy:
        return ""
    return next((s.words for s in spent(home) if s.data == agreed.data), "")


def _node_keys(register: "Register", agreed: Study) -> dict[str, str]:
    from fedtui import keys

    return {
        name: keys.fingerprint(known[-1])
        for name, known in sorted(register.keys().items())
        if name in agreed.sites
    }


def _coordinator(home: Home) -> str:
    own = site.load(home)
    return own.name if own.coordinates else ""


def _asked(home: Home, order: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fedtui.flower.examining"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=_EXAMINE_SECONDS,
            env=processes.environment(home),
            cwd=home.path,
            check=True,
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"Reading the data of {order['data']} took more than {_EXAMINE_SECONDS / 60:.0f} min.",
            remedy="Look at the disk or share that they lie on, then try again.",
        ) from error
    except (subprocess.CalledProcessError, ValueError) as error:
        raise DataError(
            f"The data of {order['data']} could not be looked at.",
            remedy="Try 'fedtui data check'; if that is well, report it.",
        ) from error
    return told


def _secret(home: Home) -> Path:
    """The site's own secret, under which cohorts have their names; made where there is none."""
    from fedtui import keys

    path = home.keys / "noise.key"
    if not path.exists():
        keys.write_atomically(path, os.urandom(32))
    return path


def _keep_measure(home: Home, fingerprint: str, told: dict[str, Any]) -> None:
    from fedtui import keys

    names = ("features", "parameters", "epsilon", "delta")
    known = {name: told[name] for name in names if name in told}
    folder = home.path / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    keys.write_atomically(folder / f"study-{fingerprint}.json", json.dumps(known).encode())


def _known_measure(home: Home, fingerprint: str) -> "Measured":
    from fedtui.agreement import Measured

    try:
        text = (home.path / "cache" / f"study-{fingerprint}.json").read_text(encoding="ascii")
        return Measured(**json.loads(text))
    except (OSError, ValueError, TypeError):  # never looked at, or by another fedtui
        return Measured()


def _clean(words: str) -> None:
    if scrubbed(words) != words:
        raise PrivacyError(
            "The words hold what looks like a person's number.",
            remedy="Take it out: all sites keep what is said about a study.",
        )


def _today() -> Any:
    return datetime.now(UTC).date()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
