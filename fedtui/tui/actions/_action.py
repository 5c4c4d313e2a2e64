"""What an action is, and the screens on which there are any."""

from dataclasses import dataclass

OVERVIEW, CONNECT, JOIN, AGREEMENT = "overview", "connect", "join", "agreement"
ROUNDS, VALIDATE, LOGS, EXPORT = "rounds", "validate", "logs", "export"
SCREENS = (OVERVIEW, CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action.

    Attributes:
        name: ``action_<name>`` of the app carries it out; the palette finds it by this.
        keys: Textual's names of the keys, any of which starts it.
        shown: The key as the key row writes it.
        label: In one or two words; '' keeps it out of the key row.
        help: In one sentence; '' where another action's help tells of this one too.
        on: The screens where it is valid; empty means all.
        always: Never left out of the key row.
        screen: The screen it opens.
        short: The label where columns are few.
        home: Whether it needs a home; a replayed log has none.
        orders: Whether it changes something; ``--readonly`` has no such action.
        when: What must be so for the key row to name it, see ``View.conditions``; pressed at
            another time it says why it does nothing.
    """

    name: str
    keys: tuple[str, ...]
    shown: str
    label: str
    help: str
    on: tuple[str, ...] = ()
    always: bool = False
    screen: str = ""
    short: str = ""
    home: bool = False
    orders: bool = False
    when: tuple[str, ...] = ()
