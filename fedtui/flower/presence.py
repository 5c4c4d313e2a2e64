"""Which sites the coordinator hears, and how often each introduced itself anew."""

import threading
import time
from dataclasses import dataclass

from fedtui import events
from fedtui.journal import Journal

SILENT_SECONDS = 5.0  # a site reports every second; five missing reports are no hiccup


@dataclass
class _Seen:
    heard: float = float("-inf")
    attached: int = 0
    here: bool = False
    trouble: str = ""


class Presence:
    """Told by the routes, asked by the grid; journals a site's coming and going."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def hear(self, site: str, *, attached: bool = False, trouble: str | None = None) -> None:
        """A signed request of ``site`` came through; it says what keeps it from work, if that."""
        with self._lock:
            seen = self._seen.setdefault(site, _Seen())
            seen.heard = time.monotonic()
            seen.attached += attached
            seen.trouble = seen.trouble if trouble is None else trouble
            if not seen.here:  # written first: a full disk must not lose that it came
                self._journal.append(events.SiteSeen(site=site, here=True))
                seen.here = True

    def trouble(self, site: str) -> str:
        """What keeps a site from its work, as it says itself; empty if nothing does."""
        with self._lock:
            seen = self._seen.get(site)
            return "" if seen is None else seen.trouble

    def here(self, site: str) -> bool:
        """Whether ``site`` was heard within the last 5 s."""
        with self._lock:
            seen = self._seen.get(site)
            return seen is not None and time.monotonic() - seen.heard < SILENT_SECONDS

    def attached(self, site: str) -> int:
        """How often ``site`` has attached to this coordinator process."""
        with self._lock:
            seen = self._seen.get(site)
            return 0 if seen is None else seen.attached

    def seconds(self, site: str) -> float | None:
        """Seconds since ``site`` was heard, None if never."""
        with self._lock:
            seen = self._seen.get(site)
            return None if seen is None else time.monotonic() - seen.heard

    def watch(self) -> None:
        """Journal sites that fall silent; call about once a second."""
        with self._lock:
            gone = [
                site
                for site, seen in self._seen.items()
                if seen.here and time.monotonic() - seen.heard >= SILENT_SECONDS
            ]
            for site in gone:
                self._journal.append(events.SiteSeen(site=site, here=False))
                self._seen[site].here = False
