"""The handbook inside: one text a topic, read without a network; its commands are run by a test."""

from pathlib import Path

from fedtui.errors import UsageError

_FOLDER = Path(__file__).parent
# In the order in which an operator meets them.
TOPICS = (
    "first", "check", "firewall", "data", "study", "settings", "run", "validate", "privacy",
    "service", "faults", "exit-codes",
)  # fmt: skip


def about(topic: str) -> str:
    """A topic's first line, which says what it is about."""
    return text(topic).splitlines()[0]


def text(topic: str) -> str:
    """The whole text of a topic, at most 76 columns wide.

    Raises:
        UsageError: there is no such topic.
    """
    if topic not in TOPICS:
        raise UsageError(
            f"The guide has no topic '{topic}'.", remedy=f"Choose one of {', '.join(TOPICS)}."
        )
    return (_FOLDER / f"{topic}.txt").read_text(encoding="utf-8")
