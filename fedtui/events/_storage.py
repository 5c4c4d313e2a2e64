"""What became of a disk that did not take what was to be written."""

from typing import ClassVar

from fedtui.events._event import Event, event


@event
class StorageAwaited(Event):
    """A process stands still until the disk writes; nothing that was acknowledged is lost.

    Attributes:
        seconds: For how long it did; 0 where it begins to.
        cause: What the disk said.
    """

    level: ClassVar[str] = "WARN"
    process: str
    seconds: float
    cause: str

    @property
    def sentence(self) -> str:
        waits = f"waited {self.seconds:.0f} s" if self.seconds else "waits"
        return f"the {self.process} {waits} for the disk: {self.cause}"
