"""What differs between two versions of a study."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedtui.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One clause that differs; None where a version does not have it."""

    key: str
    before: Any
    after: Any


def changes(before: Study, after: Study) -> list[Change]:
    """Every clause that differs, in the order in which a study is written."""
    old, new = dict(_flat(asdict(before))), dict(_flat(asdict(after)))
    return [
        Change(key=key, before=old.get(key), after=new.get(key))
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from _flat(value, key)
        else:
            yield key, list(value) if isinstance(value, tuple) else value
