"""How an agent's link is, from what its threads meet, and when to try again."""

import random
import threading
from collections.abc import Callable

from fedtui import events
from fedtui.errors import joined
from fedtui.transport import LinkError

_BACKOFF_CAP = 5.0  # seconds; a link that is back is found again within this
SLOW_SECONDS = 10.0  # between tries where an operator must act first
_AHEAD_SECONDS, _BEHIND_SECONDS = 4.0, 240.0  # Flower refuses nodes 5 s ahead, 305 s behind
_GONE_SECONDS = 0.1
_STUBBORN = 2  # refusals by Flower in a row, each right after the coordinator welcomed us


class Health:
    """One state of the link for the thread that works over it and the one that reports.

    The link is up when neither is in trouble, once the site was attached.

    Attributes:
        code: Of the trouble, empty while the link is up, None before the first news of it.
        ahead: Seconds by which this clock is ahead of the coordinator's, at most.

    Args:
        tell: Takes the event of every change.
    """

    def __init__(self, tell: Callable[[events.Event], None]) -> None:
        self.code: str | None = None
        self._tell = tell
        self._working: LinkError | None = None
        self._reporting: LinkError | None = None
        self._attached = self._stuck = False
        self._refused = self._gone = self._failures = 0
        self.ahead = 0.0
        self._better = threading.Event()
        self._lock = threading.Lock()

    def attached(self) -> None:
        """The coordinator welcomed us; what stuck in the work after that may still be there."""
        self._attached, self._failures = True, 0
        if not self._stuck:
            self._met(working=None)

    def worked(self) -> None:
        """A step of work, or a wait for it, came to its end."""
        self._stuck, self._refused, self._gone = False, 0, 0
        if self._working is not None:
            self._met(working=None)

    def failed(self, error: LinkError) -> float:
        """The link thread met ``error``; returns how many seconds to wait before the next try."""
        if error.code == "gone" and self._gone < _STUBBORN:
            self._gone += 1  # a run that was stopped is no trouble of the link
            return _GONE_SECONDS
        error = self._unmasked(error)
        self._stuck = not error.passing and self._attached
        self._failures += 1
        self._better.clear()
        self._met(working=error)
        most = min(_BACKOFF_CAP, 0.1 * 2 ** min(self._failures, 10))
        return random.uniform(0.7, 1.0) * (most if error.passing else SLOW_SECONDS)

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until a report got through again."""
        self._better.wait(seconds)

    def reported(self, error: LinkError | None) -> None:
        """A report got through, or met ``error``."""
        before = self._reporting
        if before is None and error is None:
            return
        self._met(reporting=error)
        if error is None:
            self._better.set()

    @property
    def slow(self) -> bool:
        """Whether reports meet what only an operator can mend."""
        return self._reporting is not None and not self._reporting.passing

    def _unmasked(self, error: LinkError) -> LinkError:
        """Flower's 401 says nothing; right after a welcome it is the clock, if that is off."""
        if error.code != "unauthorised":
            self._refused = 0
            return error
        self._refused += 1
        off = self.ahead > _AHEAD_SECONDS or self.ahead < -_BEHIND_SECONDS
        if off and self._refused >= _STUBBORN:
            where = "ahead of" if self.ahead > 0 else "behind"
            return LinkError(
                "clock",
                f"this host's clock is {abs(self.ahead):.0f} s {where} the coordinator's, and "
                "Flower refuses that",
                remedy="Set this host's clock (chrony or systemd-timesyncd).",
                passing=False,
            )
        return error

    def _met(self, **known: LinkError | None) -> None:
        with self._lock:
            self._working = known.get("working", self._working)
            self._reporting = known.get("reporting", self._reporting)
            worst = self._working or self._reporting
            code = "" if worst is None else worst.code
            if code == self.code or (worst is None and not self._attached):
                return
            self.code = code
        cause = "attached" if worst is None else joined(worst, worst.remedy)
        self._tell(events.LinkChanged(up=worst is None, code=code, cause=cause))
