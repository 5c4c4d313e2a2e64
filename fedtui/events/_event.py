"""What every kind of event has in common."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact. ``level`` is what a log filter sees."""

    level: ClassVar[str] = "INFO"

    @property
    def sentence(self) -> str:
        """The event in words, for logs and screen readers."""
        raise TypeError(f"{type(self).__name__} has no words")
