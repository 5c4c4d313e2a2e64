"""Carries out an order beside the screen: the very operation that the command of its name calls."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fedtui.errors import OperatorError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an order came to.

    Attributes:
        said: One sentence or more, for the alarm row where it fits, else for a box.
        shown: Further lines that need a box of their own, e.g. a code to pass on.
        failed: Whether nothing was changed.
    """

    said: str
    shown: tuple[str, ...] = ()
    failed: bool = False


def start(work: Callable[[], Outcome | str], done: Callable[[Outcome], None]) -> None:
    """Carry out ``work`` in a thread of its own and call ``done`` from there.

    A viewer that is closed meanwhile does not end it: what was ordered happens.
    """

    def carry() -> None:
        try:
            came = work()
            outcome = Outcome(said=came) if isinstance(came, str) else came
        except OperatorError as error:
            outcome = Outcome(said=error.sentences, failed=True)
        except Exception as error:  # the thread's boundary: the screen says it
            said = f"The order ended with {type(error).__name__}; the command may tell more."
            outcome = Outcome(said=said, failed=True)
        with contextlib.suppress(RuntimeError):  # the viewer was closed meanwhile
            done(outcome)

    threading.Thread(target=carry, name="order").start()
