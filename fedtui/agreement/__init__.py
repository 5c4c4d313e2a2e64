"""Agreeing on a study: what is signed, where it stands, and what it means in plain words.

Pure: nothing here reads a clock, a disk or a network. ``register`` keeps the documents.
"""

from fedtui.agreement._changes import Change, changes
from fedtui.agreement._documents import (
    LONGEST,
    LONGEST_REASON,
    Decision,
    Directory,
    Document,
    Proposal,
    Succession,
    Word,
    decide,
    direct,
    directory_of,
    hand_over,
    propose,
    read,
    successive,
    to_sign,
    vouched,
)
from fedtui.agreement._sights import (
    UNCOVERED,
    Leaving,
    Sight,
    leaving,
    secure_aggregation,
    sights,
)
from fedtui.agreement._standing import AWAY, Standing, State, check, require, standings, state
from fedtui.agreement._toml import to_toml
from fedtui.agreement._words import Clause, Measured, Paper, clauses, text, to_json

__all__ = [
    "AWAY",
    "LONGEST",
    "LONGEST_REASON",
    "UNCOVERED",
    "Change",
    "Clause",
    "Decision",
    "Directory",
    "Document",
    "Leaving",
    "Measured",
    "Paper",
    "Proposal",
    "Sight",
    "Standing",
    "State",
    "Succession",
    "Word",
    "changes",
    "check",
    "clauses",
    "decide",
    "direct",
    "directory_of",
    "hand_over",
    "leaving",
    "propose",
    "read",
    "require",
    "secure_aggregation",
    "sights",
    "standings",
    "state",
    "successive",
    "text",
    "to_json",
    "to_sign",
    "to_toml",
    "vouched",
]
