"""Which file system a folder lies on, and whether a home may lie there."""

from dataclasses import dataclass
from pathlib import Path

from fedtui.errors import ResourceError

MOUNTINFO = Path("/proc/self/mountinfo")
# Their locks lie or lag, and SQLite's WAL needs shared memory between processes.
_UNSOUND = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "fuse.sshfs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    options: tuple[str, ...]


def mount_of(folder: Path, mountinfo: Path = MOUNTINFO) -> Mount | None:
    """The mount that holds ``folder``; None where the kernel does not tell."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    resolved = str(folder.resolve())
    best: Mount | None = None
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 6 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(point=point, kind=right.split()[0], options=tuple(fields[5].split(",")))
    return best


def refuse_unsound(folder: Path, mountinfo: Path = MOUNTINFO) -> None:
    """Refuse a folder on a file system whose locks cannot be trusted.

    Raises:
        ResourceError: naming the file system.
    """
    mount = mount_of(folder, mountinfo)
    if mount is not None and mount.kind in _UNSOUND:
        raise ResourceError(
            f"{folder} lies on {mount.kind} (mounted at {mount.point}), whose file locks cannot be "
            "trusted.",
            remedy="Put the home on a local disk: --home DIR or FEDTUI_HOME.",
        )


def existing(folder: Path) -> Path:
    """``folder``, or the nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
