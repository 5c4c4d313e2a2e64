"""Whether the home lies on a file system with sound locks, writable."""

from collections.abc import Iterator
from pathlib import Path

from fedtui import mounts, site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import ResourceError

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_LIMIT = "a local disk (SQLite's WAL needs sound locks and shared memory)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Look at the home's mount."""
    home = inquiry.home or site.Home(site.default_home())
    yield judge(home.path)


def judge(folder: Path, mountinfo: Path = mounts.MOUNTINFO) -> Finding:
    """The finding for a home at ``folder``."""
    place = mounts.existing(folder)
    mount = mounts.mount_of(place, mountinfo)
    if mount is None:
        return Finding(
            state=State.UNKNOWN,
            code="filesystem-unknown",
            measured=str(place),
            threshold=_LIMIT,
            meaning="The system does not tell what is mounted here.",
            remedy="Make sure that the home is on a local disk.",
        )
    measured = f"{mount.kind} at {mount.point}"
    try:
        mounts.refuse_unsound(place, mountinfo)
    except ResourceError as error:
        return Finding(
            state=State.FAIL,
            code="filesystem-unsound",
            measured=measured,
            threshold=_LIMIT,
            meaning=str(error),
            remedy=error.remedy,
            exit_code=8,
        )
    if "ro" in mount.options:
        return Finding(
            state=State.FAIL,
            code="filesystem-read-only",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"{mount.point} is mounted read-only.",
            remedy="Choose another --home, or remount it for writing.",
            exit_code=8,
        )
    if mount.kind in ("tmpfs", "ramfs"):
        return Finding(
            state=State.WARN,
            code="filesystem-memory",
            measured=measured,
            threshold=_LIMIT,
            meaning=f"{mount.point} is in memory: keys and journal are gone after a "
            "restart of this host.",
            remedy="Choose a --home on a disk, unless this is a trial.",
        )
    return Finding(
        state=State.OK,
        code="filesystem-ok",
        measured=measured,
        threshold=_LIMIT,
        meaning="The home lies on a file system with sound locks.",
    )
