"""What the journal says of one reading of patients' data."""

from typing import Any

from fedtui import events
from fedtui.journal import Journal
from fedtui.study import Study


def of(
    journal: Journal,
    study: Study,
    fingerprint: str,
    read: dict[str, Any],
    *,
    run: str,
    action: str,
    unit: str,
    minimum: int,
) -> events.AccessLogged:
    """The event of it, with the person who approved the study here.

    Args:
        read: ``cohort``, its name, and ``patients``, how many.
        minimum: The site's least cell: fewer patients are not told.
    """
    signed = _signed(journal, fingerprint)
    return events.AccessLogged(
        run=run,
        action=action,
        study=study.id,
        fingerprint=fingerprint,
        data=study.data,
        unit=unit,
        person=signed.person if signed else "",
        uid=signed.uid if signed else None,
        user=signed.user if signed else "",
        purpose=study.purpose,
        legal_basis=study.legal_basis,
        cohort=read["cohort"],
        patients=shown(int(read["patients"]), minimum=minimum),
    )


def shown(patients: int, *, minimum: int) -> int | None:
    """A count as the journal may hold it: None below the minimum cell."""
    return patients if patients >= minimum else None


def _signed(journal: Journal, fingerprint: str) -> events.DecisionSigned | None:
    found = [
        record.event
        for record in journal.own(("DecisionSigned",))
        if isinstance(record.event, events.DecisionSigned)
        and record.event.fingerprint == fingerprint
        and record.event.word == "approve"
    ]
    return found[-1] if found else None
