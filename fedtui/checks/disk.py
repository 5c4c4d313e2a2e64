"""Whether the home has room for checkpoints, answers and the journal."""

import os
from collections.abc import Iterator

from fedtui import site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.mounts import existing

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_GIGABYTE = 1_000_000_000
_FEWEST_INODES = 10_000


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Ask the file system of the home what is free for this user."""
    home = inquiry.home or site.Home(site.default_home())
    stat = os.statvfs(existing(home.path))
    inodes = stat.f_favail if stat.f_files else None  # btrfs has no fixed number
    yield judge(stat.f_bavail * stat.f_frsize, inodes, inquiry.model_bytes)


def judge(free: int, inodes: int | None, model: int) -> Finding:
    """The finding for so many ``free`` bytes, for a model of ``model`` bytes."""
    good, least = 10 * model + 2 * _GIGABYTE, 3 * model + 64_000_000
    limit = f"{good / _GIGABYTE:.1f} GB: ten models and 2 GB (TRUST.md section 4.1)"
    measured = f"{free / _GIGABYTE:.1f} GB free"
    if inodes is not None and inodes < _FEWEST_INODES:
        return Finding(
            state=State.FAIL,
            code="disk-inodes",
            measured=f"{inodes} inodes free",
            value=float(inodes),
            unit="inodes",
            threshold=f"{_FEWEST_INODES} (fedtui)",
            meaning="The file system has room but no file numbers left.",
            remedy="Remove small files, or choose another --home.",
            exit_code=8,
        )
    if free >= good:
        return Finding(
            state=State.OK,
            code="disk-ok",
            measured=measured,
            value=float(free),
            unit="B",
            threshold=limit,
            meaning="There is room for a study.",
        )
    few = free < least
    return Finding(
        state=State.FAIL if few else State.WARN,
        code="disk-full" if few else "disk-low",
        measured=measured,
        value=float(free),
        unit="B",
        threshold=limit,
        exit_code=8,
        meaning="There is no room for a checkpoint and its successor: training would stop."
        if few
        else "There is room for a start, not for a long study.",
        remedy="Free space, or choose another --home.",
    )
