"""What an earlier life of this home left behind: wanted processes, orphans, old sockets."""

import os
from collections.abc import Iterator
from pathlib import Path

from fedtui import processes
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Compare what is wanted, what holds a lock, and what runs in this home."""
    home = inquiry.home
    if home is None or not home.state.exists():
        yield Finding(
            state=State.SKIP,
            code="no-home",
            meaning="Not measured: no home there.",
            remedy="Make one with 'fedtui init NAME'.",
        )
        return
    holders = {p: pid for p in processes.MODULES if (pid := processes.running(home, p)) is not None}
    orphans = _orphans(home, set(holders.values()))
    wanted = processes.wanted(home)
    if orphans:
        listed = ", ".join(map(str, orphans))
        yield Finding(
            state=State.FAIL,
            code="leftover-orphans",
            measured=f"process {listed}",
            exit_code=4,
            threshold="every process of the home holds its lock, or belongs to one that does",
            meaning="A process of this home runs on without being part of it any more.",
            remedy=f"End it: kill {' '.join(map(str, orphans))}",
        )
    elif wanted and not holders:
        yield Finding(
            state=State.WARN,
            code="leftover-wanted",
            measured=f"{', '.join(wanted)} wanted",
            threshold="what is wanted runs",
            exit_code=4,
            meaning="This home's processes were started and none runs: the host was restarted, or "
            "all were killed.",
            remedy="'fedtui up' starts them; nothing acknowledged is lost.",
        )
    else:
        alive = ", ".join(f"{p} {pid}" for p, pid in holders.items()) or "nothing runs"
        yield Finding(
            state=State.OK,
            code="leftovers-none",
            measured=alive,
            meaning="No orphans, no stale locks.",
        )


def _orphans(home: Home, holders: set[int]) -> list[int]:
    """Our processes of this home, older than a moment, that nobody answers for."""
    ours, parents = [], {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            cwd = (folder / "cwd").readlink()
        except OSError:  # gone, or another user's
            continue
        parents[int(folder.name)] = int(fields[1])
        modules = (*processes.MODULES.values(), "fedtui.flower.trainer")
        zombie = fields[0] == "Z"
        if cwd == home.path.resolve() and not zombie and any(m in words for m in modules):
            ours.append(int(folder.name))
    candidates = [p for p in ours if p not in holders and parents[p] not in holders]
    return [p for p in candidates if p != os.getpid() and parents[p] not in ours and _settled(p)]


def _settled(pid: int) -> bool:
    """Whether it runs for more than 5 s: a starting process has no lock yet."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return False
    return uptime - ticks / os.sysconf("SC_CLK_TCK") > 5.0
