"""What can happen in a federation, as plain facts that are safe to keep and to show.

An event holds structured fields only: never a patient's value, never the text of an exception
that could quote one. State on screen is a fold over events (``progress.advance``).
"""

import dataclasses
import json
from functools import cache
from typing import Any

from fedtui.events._accept import check
from fedtui.events._alone import TrainedAlone
from fedtui.events._audit import (
    Audited,
    AuditFailed,
    AuditProgressed,
    LeakageAudited,
    LeakageOverridden,
)
from fedtui.events._continuity import HomeRestored, JournalRolledBack
from fedtui.events._data import CohortLoaded, ScaleAgreed
from fedtui.events._event import Event
from fedtui.events._home import (
    DeviceReported,
    FederationJoined,
    LinkChanged,
    LinkChecked,
    OrderTaken,
    ProcessEnded,
    ProcessStarted,
    RequestRefused,
    SiteCreated,
    SiteInvited,
    SiteRevoked,
    SiteSeen,
)
from fedtui.events._run import (
    AnswerReceived,
    AnswerRefused,
    CheckpointWritten,
    HeadWitnessed,
    Outcome,
    Phase,
    PhaseStarted,
    RoundEnded,
    RunEnded,
    RunPaused,
    RunResumed,
    RunSubmitted,
    ShiftFound,
    SitesAwaited,
)
from fedtui.events._storage import StorageAwaited
from fedtui.events._study import (
    AccessLogged,
    DecisionSigned,
    DocumentRefused,
    StudyDecided,
    StudyProposed,
)
from fedtui.events._trust import (
    CertificateRenewed,
    InvitationMade,
    KeyRotated,
    MembershipEnded,
    SiteClaimed,
    SiteDeclined,
    SiteLeft,
    SiteSuspended,
)
from fedtui.events._validation import (
    ImportFailed,
    ModelImported,
    ModelValidated,
    ModelWithheld,
    ValidationEnded,
    ValidationStarted,
)
from fedtui.events._work import (
    BatchSplit,
    PrivacySpent,
    PrivacyUnlimited,
    Released,
    TrainingProgressed,
    WorkAnswered,
    WorkFailed,
    WorkReceived,
)

__all__ = [
    "KINDS",
    "AccessLogged",
    "AnswerReceived",
    "AnswerRefused",
    "AuditFailed",
    "AuditProgressed",
    "Audited",
    "BatchSplit",
    "CertificateRenewed",
    "CheckpointWritten",
    "CohortLoaded",
    "DecisionSigned",
    "DeviceReported",
    "DocumentRefused",
    "Event",
    "FederationJoined",
    "HeadWitnessed",
    "HomeRestored",
    "ImportFailed",
    "InvitationMade",
    "JournalRolledBack",
    "KeyRotated",
    "LeakageAudited",
    "LeakageOverridden",
    "LinkChanged",
    "LinkChecked",
    "MembershipEnded",
    "ModelImported",
    "ModelValidated",
    "ModelWithheld",
    "OrderTaken",
    "Outcome",
    "Phase",
    "PhaseStarted",
    "PrivacySpent",
    "PrivacyUnlimited",
    "ProcessEnded",
    "ProcessStarted",
    "Released",
    "RequestRefused",
    "RoundEnded",
    "RunEnded",
    "RunPaused",
    "RunResumed",
    "RunSubmitted",
    "ScaleAgreed",
    "ShiftFound",
    "SiteClaimed",
    "SiteCreated",
    "SiteDeclined",
    "SiteInvited",
    "SiteLeft",
    "SiteRevoked",
    "SiteSeen",
    "SiteSuspended",
    "SitesAwaited",
    "StorageAwaited",
    "StudyDecided",
    "StudyProposed",
    "TrainedAlone",
    "TrainingProgressed",
    "ValidationEnded",
    "ValidationStarted",
    "WorkAnswered",
    "WorkFailed",
    "WorkReceived",
    "accept",
    "from_fields",
    "from_json",
    "to_fields",
    "to_json",
]

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}


@cache  # a journal is thousands of the same
def _names(kind: str) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(KINDS[kind]))


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
    known = _names(kind.__name__)
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if name in known
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def accept(fields: Any) -> Event:
    """The event that another host sent, every field checked.

    Raises:
        ValueError: an unknown kind, or anything is not what the kind declares.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
        raise ValueError("not an event")
    event = from_fields(fields)
    check(event)
    return event


def from_json(text: str) -> Event:
    """The event that ``to_json`` wrote. Raises ValueError as ``from_fields``."""
    return from_fields(json.loads(text))
