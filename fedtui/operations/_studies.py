"""Reading studies, for both doors: which there are, what they say, what differs."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import site, study
from fedtui.site import Home
from fedtui.study import Study

if TYPE_CHECKING:  # cryptography: 60 ms that `status` does not need
    from fedtui import agreement
    from fedtui.agreement import Measured, Paper
    from fedtui.register import Entry, Register


def studies(home: Home) -> list[dict[str, Any]]:
    """Every version of every study that this home knows, oldest first.

    Each has id, version, newest, state (proposed, approved, declined, withdrawn, expired), the
    proposing site, time, fingerprint, and by site what it said.
    """
    register = register_of(home)
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
    register = register_of(home)
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        agreed = study.load(path)
        fingerprint = study.fingerprint(agreed)
        entry = next((e for e in register.entries() if e.fingerprint == fingerprint), None)
        if entry is None:
            from fedtui.agreement import Paper

            return Paper(
                study=agreed,
                today=today(),
                node_keys=_node_keys(register, agreed),
                coordinator=register.coordinator() or _coordinator(home),
                measured=known_measure(home, fingerprint),
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
    return register_of(home).entry(name).study


def study_changes(home: Home, before: str, after: str) -> "list[agreement.Change]":
    """Every clause that differs between two studies, each a file or known here."""
    from fedtui import agreement

    return agreement.changes(study_named(home, before), study_named(home, after))


def register_of(home: Home) -> "Register":
    """What this home knows: a site's own documents, at a lone coordinator the federation's."""
    from fedtui.register import Register

    return Register(home.studies if site.load(home).trains else home.register)


def _paper(
    home: Home, register: "Register", entry: "Entry", found: "dict[str, agreement.Standing]"
) -> "Paper":
    from fedtui.agreement import Paper

    return Paper(
        study=entry.study,
        today=today(),
        version=entry.version,
        found=found,
        node_keys=_node_keys(register, entry.study),
        coordinator=register.coordinator() or _coordinator(home),
        measured=known_measure(home, entry.fingerprint),
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


def known_measure(home: Home, fingerprint: str) -> "Measured":
    from fedtui.agreement import Measured

    try:
        text = (home.path / "cache" / f"study-{fingerprint}.json").read_text(encoding="ascii")
        return Measured(**json.loads(text))
    except (OSError, ValueError, TypeError):  # never looked at, or by another fedtui
        return Measured()


def today() -> date:
    return datetime.now(UTC).date()
