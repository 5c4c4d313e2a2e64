"""Whether agent, trainer and coordinator fit into memory, cgroup limits included."""

import re
from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_GIGABYTE = 1_000_000_000
_GOOD, _LEAST = 2.0, 1.0  # GB; measured: agent 0.1, trainer 0.3, coordinator 0.15, models on top
_LIMIT = f"{_GOOD:.0f} GB and six models (fedtui, measured)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """What can be had now, on this host and in this control group."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        meminfo = ""
    yield judge(meminfo, _room_in_group(), inquiry.model_bytes)


def judge(meminfo: str, group: int | None, model: int) -> Finding:
    """The finding for the text of /proc/meminfo and the bytes left in the control group."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    if match is None:
        return Finding(
            state=State.UNKNOWN,
            code="memory-unknown",
            threshold=_LIMIT,
            meaning="The system does not tell how much memory is available.",
            remedy="Make sure that 2 GB are free.",
        )
    available, where = int(match[1]) * 1024, "this host"
    if group is not None and group < available:
        available, where = group, "this container or service (cgroup limit)"
    measured = f"{available / _GIGABYTE:.1f} GB available"
    gigabytes = (available - 6 * model) / _GIGABYTE
    if gigabytes >= _GOOD:
        return Finding(
            state=State.OK,
            code="memory-ok",
            measured=measured,
            value=float(available),
            unit="B",
            threshold=_LIMIT,
            meaning="Agent and trainer fit.",
        )
    few = gigabytes < _LEAST
    return Finding(
        state=State.FAIL if few else State.WARN,
        code="memory-short" if few else "memory-low",
        measured=measured,
        value=float(available),
        unit="B",
        threshold=_LIMIT,
        exit_code=8,
        meaning=f"Little memory is left in {where}; the kernel may kill the trainer.",
        remedy="End other programs, or ask for more memory.",
    )


def _room_in_group() -> int | None:
    """Bytes left under the tightest limit of this process's control groups (v2)."""
    try:
        line = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().splitlines()[-1]
    except (OSError, IndexError):
        return None
    root = Path("/sys/fs/cgroup")
    place, room = root / line.split("::")[-1].lstrip("/"), None
    for folder in (place, *place.parents):
        try:
            limit = (folder / "memory.max").read_text(encoding="ascii").strip()
            used = int((folder / "memory.current").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            left = int(limit) - used
            room = left if room is None else min(room, left)
        if folder == root:
            break
    return room
