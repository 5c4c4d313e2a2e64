"""Which file system a folder lies on, from /proc/self/mountinfo."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    options: tuple[str, ...]


def mount_of(folder: Path, mountinfo: str | None = None) -> Mount | None:
    """The mount that holds ``folder``; None where the kernel does not tell."""
    text = _mountinfo() if mountinfo is None else mountinfo
    resolved = str(folder.resolve())
    best: Mount | None = None
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 6 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(point=point, kind=right.split()[0], options=tuple(fields[5].split(",")))
    return best


def existing(folder: Path) -> Path:
    """``folder``, or the nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
