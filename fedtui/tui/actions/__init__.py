"""What an operator can do in the dashboard: one list behind keys, key row, palette and help."""

from collections.abc import Iterable

from fedtui.tui.actions._action import (
    AGREEMENT,
    CONNECT,
    EXPORT,
    JOIN,
    LOGS,
    OVERVIEW,
    ROUNDS,
    SCREENS,
    VALIDATE,
    Action,
)
from fedtui.tui.actions._orders import ORDERS
from fedtui.tui.actions._views import LOOKING, OPENING

__all__ = [
    "ACTIONS",
    "AGREEMENT",
    "CONNECT",
    "EXPORT",
    "JOIN",
    "LOGS",
    "OVERVIEW",
    "ROUNDS",
    "SCREENS",
    "VALIDATE",
    "Action",
    "found",
    "valid",
]

ACTIONS: tuple[Action, ...] = (*OPENING, *ORDERS, *LOOKING)


def valid(screen: str, *, home: bool = True, orders: bool = True) -> tuple[Action, ...]:
    """The actions of one screen; one that is only there takes its keys from one of all screens."""
    here = [
        a
        for a in ACTIONS
        if (not a.on or screen in a.on) and (home or not a.home) and (orders or not a.orders)
    ]
    taken = {key for a in here if a.on for key in a.keys}
    return tuple(a for a in here if a.on or not taken.intersection(a.keys))


def found(words: str, among: Iterable[Action]) -> tuple[Action, ...]:
    """Of valid actions those whose name, label or help holds every word."""
    wanted = words.lower().split()
    return tuple(
        a
        for a in among
        if a.help
        and a.name != "palette"
        and all(w in f"{a.name} {a.label} {a.help}".lower() for w in wanted)
    )
