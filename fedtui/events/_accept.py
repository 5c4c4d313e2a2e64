"""What another host says happened: taken only if every field is what its kind declares."""

import dataclasses
import sys
import types
import typing
from typing import Any

from fedtui.events._event import Event

_LONGEST_TEXT = 4096  # characters; the longest of ours is a public key, 220
_MOST_ITEMS = 1000


def check(event: Event) -> None:
    """Raise ValueError unless every field of ``event`` has its declared type and a sane size.

    A text with control characters could rewrite the terminal of whoever reads the log.
    """
    for name, hint in _hints(type(event)).items():
        if not _fits(getattr(event, name), hint):
            raise ValueError(f"{type(event).__name__}: {name} is not what it should be")


def _hints(kind: type[Event]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) <= _MOST_ITEMS
            and all(_fits(item, arguments[0]) for item in value)
        )
    if origin is dict:
        return (
            isinstance(value, dict)
            and len(value) <= _MOST_ITEMS
            and all(_fits(k, arguments[0]) and _fits(v, arguments[1]) for k, v in value.items())
        )
    if hint is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if hint is int:
        return type(value) is int and abs(value) < 1 << 63
    if hint is str:
        plain = isinstance(value, str) and len(value) <= _LONGEST_TEXT
        return plain and value.replace("\n", "").isprintable()
    return type(value) is hint
