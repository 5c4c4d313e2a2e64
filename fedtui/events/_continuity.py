"""When a journal does not simply go on: its home was restored, or an older copy took its place."""

from typing import ClassVar

from fedtui.events._event import Event, event


@event
class HomeRestored(Event):
    """An operator put this home back from a backup, or accepted that it is an older one.

    Attributes:
        at: The journal's length in the backup; what followed it is in no journal here.
        written: When the backup was taken, UTC; empty where an operator accepted an older copy.
        moment: When it was restored, UTC: the same backup may be restored twice.
    """

    level: ClassVar[str] = "WARN"
    site: str
    at: int
    written: str
    moment: str

    @property
    def sentence(self) -> str:
        if not self.written:
            return f"{self.site}'s operator accepted that its journal is an older one."
        return f"{self.site} was restored from a backup of {self.written[:16]} (record {self.at})."


@event
class JournalRolledBack(Event):
    """Peers hold a signed head of this site's journal that the journal no longer contains.

    Attributes:
        at: The journal's length when it was found.
        witnessed: The position of the head that peers hold.
        head: The chain's value there, hex; empty where a peer knows the position only.
    """

    level: ClassVar[str] = "WARN"
    site: str
    at: int
    witnessed: int
    head: str

    @property
    def missing(self) -> int:
        """How many records are known to be missing; 0 where another chain took their place."""
        return max(0, self.witnessed - self.at)

    @property
    def sentence(self) -> str:
        if self.missing:
            return (
                f"{self.site} was restored from an older copy: its journal ends at record {self.at}"
                f" and peers saw it reach {self.witnessed}; {self.missing} records are missing."
            )
        return (
            f"{self.site}'s journal forked: its record {self.witnessed} is not the one that it "
            "signed before; an older copy went on in its place, or two copies run."
        )
