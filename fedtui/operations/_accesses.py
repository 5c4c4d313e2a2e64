"""The record of who used which patients' data at this site, and how long its lists are kept."""

import time
from dataclasses import asdict
from typing import Any

from fedtui import events, site
from fedtui.journal import Journal
from fedtui.record import iso
from fedtui.site import Home

_YEAR = 365.25 * 86400  # seconds


def accesses(home: Home, run_id: str = "") -> list[dict[str, Any]]:
    """Every access to patients' data here, oldest first; ``list`` is a file, or 'gone'."""
    return [
        {
            "time": iso(moment),
            **asdict(event),
            "list": str(path) if (path := home.audit / f"{event.cohort}.json").exists() else "gone",
        }
        for moment, event in _logged(home)
        if run_id in ("", event.run)
    ]


def prune_accesses(home: Home, *, now: float | None = None) -> list[str]:
    """Remove lists of patients whose last access is older than the site keeps; returns which.

    The journal's own record of the access stays.
    """
    limit = (time.time() if now is None else now) - site.load(home).audit.retention_years * _YEAR
    last: dict[str, float] = {}
    for moment, event in _logged(home):
        last[event.cohort] = max(moment, last.get(event.cohort, 0.0))
    removed = []
    for path in sorted(home.audit.glob("*.json")):
        # A list that no record names may have been written a moment before its record.
        if last.get(path.stem, path.stat().st_mtime) < limit:
            path.unlink()
            removed.append(path.name)
    return removed


def _logged(home: Home) -> list[tuple[float, events.AccessLogged]]:
    site.load(home)
    book = Journal(home.journal, source="viewer")
    try:
        found = book.own(("AccessLogged",))
    finally:
        book.close()
    return [(r.time, r.event) for r in found if isinstance(r.event, events.AccessLogged)]
