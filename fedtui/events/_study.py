"""What happens to a study before, and beside, its runs: proposed, decided on, patients' data used.

The first two are for all sites; the others stay in the journal of the site that wrote them.
"""

from typing import ClassVar, Literal

from fedtui.events._event import Event, event


@event
class StudyProposed(Event):
    """A site put a version of a study to the others."""

    study: str
    fingerprint: str
    site: str
    version: int

    @property
    def sentence(self) -> str:
        return (
            f"{self.site} proposes study {self.study} v{self.version}, "
            f"fingerprint {self.fingerprint[:12]}: 'fedtui study show {self.study}'."
        )


@event
class StudyDecided(Event):
    """A site approved, declined or withdrew; the coordinator checked both signatures."""

    study: str
    fingerprint: str
    site: str
    word: Literal["approve", "decline", "withdraw"]
    person: str
    reason: str = ""

    @property
    def level(self) -> str:  # type: ignore[override]
        """What stops a study is a warning."""
        return "INFO" if self.word == "approve" else "WARN"

    @property
    def sentence(self) -> str:
        said = {
            "approve": "approved",
            "decline": "declined",
            "withdraw": "withdrew its approval of",
        }[self.word]
        by = f" by {self.person}" if self.person else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.site}{by} {said} study {self.study}, {self.fingerprint[:12]}{why}."


@event
class DecisionSigned(Event):
    """Somebody at this site decided on a study; told to nobody else.

    Attributes:
        uid: Of the account that the command ran under, ``user`` its name.
        cohort: Who the data held then, as a keyed hash of this site's own; empty where nobody
            looked.
        patients: How many; None below the minimum cell, or where nobody looked.
    """

    study: str
    fingerprint: str
    word: Literal["approve", "decline", "withdraw"]
    person: str
    uid: int
    user: str
    purpose: str
    legal_basis: str
    cohort: str = ""
    patients: int | None = None

    @property
    def sentence(self) -> str:
        who = f"{self.person or 'the site'} (user {self.uid} {self.user})"
        return f"{who} signed '{self.word}' on study {self.study}, {self.fingerprint[:12]}."


@event
class AccessLogged(Event):
    """This site's patients' data were read; who they are lies in a file of this site.

    Swedish patient-data law (HSLF-FS 2016:40, chapter 4) wants of each access: what was done, the
    care unit, the time, the user and the patients.

    Attributes:
        run: Empty for what the site did alone.
        action: What for: 'training' (with its preparation and evaluation), 'validation' or another.
        person: Who approved the study here, with ``uid`` and ``user`` of the account; empty and
            None for data that the site declared public.
        cohort: Names the list of the patients under ``audit`` in the home: a keyed hash.
        patients: How many; None below the minimum cell.
    """

    run: str
    action: str
    study: str
    fingerprint: str
    data: str
    unit: str
    person: str
    uid: int | None
    user: str
    purpose: str
    legal_basis: str
    cohort: str
    patients: int | None

    @property
    def sentence(self) -> str:
        count = "a few" if self.patients is None else str(self.patients)
        for_ = f", approved by {self.person}" if self.person else ", data declared public"
        what = f"run {self.run}, {self.action}" if self.run else self.action
        return (
            f"{what}: {self.data} of {count} patients at {self.unit} read "
            f"for study {self.study}{for_}; cohort {self.cohort[:12]}."
        )


@event
class DocumentRefused(Event):
    """Something that came about a study does not hold; nothing follows from it here."""

    level: ClassVar[str] = "WARN"
    cause: str

    @property
    def sentence(self) -> str:
        return f"refused: {self.cause}"
