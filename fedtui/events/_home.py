"""What happens at one site, whether or not a run is under way."""

from typing import ClassVar

from fedtui.events._event import Event, event


@event
class SiteCreated(Event):
    """A home was made; ``key`` is the fingerprint of its public key."""

    site: str
    roles: tuple[str, ...]
    key: str

    @property
    def sentence(self) -> str:
        return f"{self.site} was created as {' and '.join(self.roles)}, key {self.key}."


@event
class SiteInvited(Event):
    """The coordinator put a site's public key on its roster."""

    site: str
    key: str

    @property
    def sentence(self) -> str:
        return f"{self.site} is on the roster with key {self.key}."


@event
class SiteRevoked(Event):
    """The coordinator took a site off its roster; what it sends is refused."""

    level: ClassVar[str] = "WARN"
    site: str

    @property
    def sentence(self) -> str:
        return f"{self.site} was taken off the roster."


@event
class FederationJoined(Event):
    """This site pinned a coordinator's address and certificate authority."""

    address: str
    authority: str

    @property
    def sentence(self) -> str:
        return f"joined the federation at {self.address}, authority {self.authority}."


@event
class ProcessStarted(Event):
    """One of this home's processes is up."""

    process: str
    pid: int
    version: str

    @property
    def sentence(self) -> str:
        return f"{self.process} started, process {self.pid}, fedtui {self.version}."


@event
class ProcessEnded(Event):
    """One of this home's processes is gone; a killed one is started again."""

    process: str
    cause: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """A process that was told to end is news; any other end is a warning."""
        return "INFO" if self.cause.startswith("stopped") else "WARN"

    @property
    def sentence(self) -> str:
        return f"{self.process} ended: {self.cause.rstrip('.')}."


@event
class OrderTaken(Event):
    """Someone on this host gave a process an order through its socket."""

    order: str
    process: str
    uid: int

    @property
    def sentence(self) -> str:
        return f"user {self.uid} ordered the {self.process}: {self.order}."


@event
class DeviceReported(Event):
    """What this site's trainer computes on."""

    device: str
    count: int
    memory_bytes: int | None

    @property
    def sentence(self) -> str:
        return f"training uses {self.count} x {self.device}."


@event
class LinkChanged(Event):
    """The link from this site to the coordinator came up or went down."""

    up: bool
    code: str
    cause: str

    @property
    def level(self) -> str:  # type: ignore[override]
        """A lost link is a warning."""
        return "INFO" if self.up else "WARN"

    @property
    def sentence(self) -> str:
        state = "is up" if self.up else "is down"
        return f"the link to the coordinator {state}: {self.cause.rstrip('.')}."


@event
class LinkChecked(Event):
    """A site's checks came to something else than before; every site sees the same words.

    Attributes:
        findings: 'STATE code' by the check's name.
        unwell: Meaning and remedy of what is not OK, by the check's name.
    """

    site: str
    findings: dict[str, str]
    unwell: dict[str, str]

    @property
    def level(self) -> str:  # type: ignore[override]
        """Anything that is not well is a warning."""
        return "WARN" if self.unwell else "INFO"

    @property
    def sentence(self) -> str:
        if not self.unwell:
            return f"{self.site} checked its link: all {len(self.findings)} checks are well."
        told = "; ".join(f"{check}: {said.rstrip('.')}" for check, said in self.unwell.items())
        return f"{self.site} checked its link: {told}."


@event
class SiteSeen(Event):
    """The coordinator began or ceased to hear a site."""

    site: str
    here: bool

    @property
    def level(self) -> str:  # type: ignore[override]
        """A silent site is a warning."""
        return "INFO" if self.here else "WARN"

    @property
    def sentence(self) -> str:
        return f"{self.site} {'is connected' if self.here else 'has gone silent'}."


@event
class RequestRefused(Event):
    """The coordinator refused a request; ``code`` names why, as the sender was told."""

    level: ClassVar[str] = "WARN"
    site: str
    code: str

    @property
    def sentence(self) -> str:
        return f"a request in the name of {self.site} was refused: {self.code}."
