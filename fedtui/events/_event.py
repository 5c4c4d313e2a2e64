"""What every kind of event has in common."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def event(kind: type[T]) -> type[T]:
    """A kind of event: a dataclass whose fields are named when it is made, and fixed after.

    What all kinds do alike stands in ``Event``: compiled for each of some sixty, it would be 25 ms
    of every command's start.
    """
    return dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)(kind)


@event
class Event:
    """A fact. ``level`` is what a log filter sees."""

    level: ClassVar[str] = "INFO"

    @property
    def sentence(self) -> str:
        """The event in words, for logs and screen readers."""
        raise TypeError(f"{type(self).__name__} has no words")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _names(self))

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in _names(self))))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(self))
        return f"{type(self).__name__}({told})"


def _names(event: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(event)]
