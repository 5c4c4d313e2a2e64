"""Runs the checks beside the screen: what ``fedtui check`` does, in a thread."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fedtui.errors import OperatorError
from fedtui.site import Home
from fedtui.tui import words

if TYPE_CHECKING:  # 13 MB with what the checks need: a viewer that never checks goes without
    from fedtui.checks import Finding

_ORDER = tuple(words.VERDICTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What this home's checks came to, and whether they run again.

    Attributes:
        findings: Of the last checks: what is not well first, else from inside to outside.
        time: When those ended, seconds since 1970.
        since: When the checks under way began; None while none are.
        deep: Whether those under way, or else the last, measured more than a handshake.
        problem: Why the last ones came to nothing.
    """

    findings: "tuple[Finding, ...]" = ()
    time: float = 0.0
    since: float | None = None
    deep: bool = False
    problem: str = ""


def start(home: Home, before: Checkup, *, keep: bool, done: Callable[[Checkup], None]) -> None:
    """Check, and call ``done`` from the checks' thread; a viewer that closes does not wait.

    Args:
        before: The checkup under way, whose findings stand if these come to nothing.
        keep: Whether the findings are journaled, so that every site sees them.
    """

    def work() -> None:
        try:
            found = _run(home, deep=before.deep, keep=keep)
        except OperatorError as error:
            after = replace(before, since=None, problem=error.sentences)
        except Exception as error:  # the thread's boundary: the screen says it
            said = f"The checks ended with {type(error).__name__}; 'fedtui check' may tell more."
            after = replace(before, since=None, problem=said)
        else:
            after = Checkup(findings=found, time=time.time(), deep=before.deep)
        with contextlib.suppress(RuntimeError):  # the viewer was closed meanwhile
            done(after)

    threading.Thread(target=work, name="checks", daemon=True).start()


def _run(home: Home, *, deep: bool, keep: bool) -> "tuple[Finding, ...]":
    from fedtui import checks
    from fedtui.operations import findings

    found = findings.check(home, None, deep=deep) if keep else checks.run(home=home, deep=deep)
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.state)))
