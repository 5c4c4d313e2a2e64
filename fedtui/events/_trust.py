"""Who belongs to the federation, with which key: invited, pending, enrolled, suspended, ended."""

from typing import ClassVar

from fedtui.events._event import Event, event


@event
class InvitationMade(Event):
    """The coordinator's operator made a code or a file for a site; ``until`` in UTC."""

    site: str
    until: str

    @property
    def sentence(self) -> str:
        return f"{self.site} was invited; the invitation holds until {self.until}."


@event
class SiteClaimed(Event):
    """A holder of an invitation asks to be enrolled; it stays outside until confirmed.

    Attributes:
        words: The six words that both screens show.
        origin: The network address that it came from.
    """

    site: str
    key: str
    words: str
    origin: str

    @property
    def sentence(self) -> str:
        return (
            f"{self.site} used its invitation from {self.origin} and waits for "
            f"'fedtui sites --confirm {self.site}'; its words: {self.words}."
        )


@event
class SiteDeclined(Event):
    """The coordinator's operator declined a pending site or took an invitation back."""

    level: ClassVar[str] = "WARN"
    site: str

    @property
    def sentence(self) -> str:
        return f"{self.site} was declined."


@event
class SiteSuspended(Event):
    """The coordinator refuses a site for the time being, or takes it back."""

    site: str
    suspended: bool

    @property
    def level(self) -> str:  # type: ignore[override]
        """A site that is kept out is a warning."""
        return "WARN" if self.suspended else "INFO"

    @property
    def sentence(self) -> str:
        return f"{self.site} was {'suspended' if self.suspended else 'taken back'}."


@event
class KeyRotated(Event):
    """A site signs with a new key from here on; the old one signed for it."""

    site: str
    key: str
    old: str

    @property
    def sentence(self) -> str:
        return f"{self.site} changed its key from {self.old[:14]}… to {self.key}."


@event
class CertificateRenewed(Event):
    """The coordinator took a new server certificate into use; connections go on."""

    until: str
    cause: str

    @property
    def sentence(self) -> str:
        return f"the coordinator has a new certificate until {self.until} ({self.cause})."


@event
class MembershipEnded(Event):
    """The federation's key says that this site does not belong to it any more."""

    level: ClassVar[str] = "ERROR"
    site: str
    since: str

    @property
    def sentence(self) -> str:
        return f"{self.site} is off the coordinator's roster since {self.since}; the agent ends."


@event
class SiteLeft(Event):
    """A site ended its membership itself; both ends journal it.

    Attributes:
        untold: At the site: why the coordinator does not know of it yet; empty where it does.
    """

    level: ClassVar[str] = "WARN"
    site: str
    untold: str = ""

    @property
    def sentence(self) -> str:
        but = f", but the coordinator does not know: {self.untold}" if self.untold else "."
        return f"{self.site} left the federation{but}"
