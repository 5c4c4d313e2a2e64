"""Phase 0: what is wrong with a hospital's host or link, named, and what to ask for.

One check a file, found by its file name. A check is a generator ``check(inquiry)`` of findings;
``NEEDS`` names the checks it builds on: when one of those fails, it is skipped and says so.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fedtui.checks._inquiry import Inquiry

SCHEMA = 1


class State(StrEnum):
    """What a check came to; UNKNOWN is measured without an answer, SKIP is not measured."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found, in words that an operator and a network team can use.

    Attributes:
        check: The check's name; the runner fills it in.
        code: Stable name of the finding, for scripts and runbooks.
        measured: What was seen, with its unit, e.g. '312 ms'.
        value: The same as a number in ``unit``, where it is one.
        threshold: Where OK ends, and who says so.
        meaning: What this says about the host or the link; both causes where one end of a link
            cannot tell them apart.
        remedy: What to do.
        ticket: Text to paste into a ticket for the network team; only for network faults.
        exit_code: What ``fedtui check`` ends with when this is the first failure.
        seconds: How long the check took.
    """

    state: State
    code: str
    meaning: str
    check: str = ""
    measured: str = ""
    value: float | None = None
    unit: str = ""
    threshold: str = ""
    remedy: str = ""
    ticket: str = ""
    exit_code: int = 3
    seconds: float = 0.0

    @property
    def blocks(self) -> bool:
        """Whether joint training cannot work before this is mended."""
        return self.state is State.FAIL


class Check(Protocol):
    """A module of this package.

    Attributes:
        NEEDS: The checks that must not have failed.
        AFTER: The checks that must be over, however they ended.
        NETWORK: Whether it looks at the link; then it needs a coordinator to look for.
        DEEP: Whether it takes so long, or sends so much, that it runs with ``deep`` only.
    """

    NEEDS: tuple[str, ...]
    AFTER: tuple[str, ...]
    NETWORK: bool
    DEEP: bool

    def check(self, inquiry: "Inquiry") -> Iterator[Finding]:
        """Look, and say what was found."""


def names() -> list[str]:
    """Every check, in alphabetical order, without importing any."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> Check:
    """The check of that name.

    Raises:
        ValueError: there is none; names the ones there are.
    """
    if name not in names():
        raise ValueError(f"no check is called {name!r}; there are {', '.join(names())}")
    module: Any = importlib.import_module(f"fedtui.checks.{name}")
    return module  # type: ignore[no-any-return]


def exit_code(findings: list[Finding]) -> int:
    """The exit code of the first finding that blocks, from inside to outside; else 0."""
    return next((f.exit_code for f in findings if f.blocks), 0)


def to_json(findings: list[Finding]) -> dict[str, Any]:
    """The findings as one JSON document."""
    return {
        "schema": SCHEMA,
        "exit_code": exit_code(findings),
        "findings": [asdict(f) for f in findings],
    }


# Last, since both use the contract above.
from fedtui.checks._run import cheap, run, watch  # noqa: E402
from fedtui.checks._target import Target, from_address, from_home, from_invitation  # noqa: E402
from fedtui.checks._text import changes, text  # noqa: E402

__all__ = [
    "SCHEMA", "Check", "Finding", "State", "Target", "changes", "cheap", "exit_code",
    "from_address", "from_home", "from_invitation", "load", "names", "run", "text", "to_json",
    "watch",
]  # fmt: skip
