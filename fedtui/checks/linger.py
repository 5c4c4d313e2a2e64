"""Whether systemd lets this user's processes live on after the last logout."""

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_RUNNING = Path("/run/systemd/system")
_LINGER = Path("/var/lib/systemd/linger")
_SETTINGS = ("/usr/lib/systemd/logind.conf", "/etc/systemd/logind.conf")


def check(_: Inquiry) -> Iterator[Finding]:
    """Read logind's settings; root's processes and hosts without systemd are not concerned."""
    if not _RUNNING.exists():
        yield Finding(
            state=State.SKIP, code="no-systemd", meaning="Not needed: no systemd runs here."
        )
        return
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user without a name has no linger file either
        user = str(uid)
    yield judge(uid, user, linger=(_LINGER / user).exists(), kills=_kills(_texts()))


def judge(uid: int, user: str, *, linger: bool, kills: bool) -> Finding:
    """The finding for ``user``; ``kills`` as logind's KillUserProcesses."""
    if uid == 0 or linger:
        return Finding(
            state=State.OK,
            code="linger-ok",
            measured=user,
            meaning="Processes live on after logout.",
        )
    if not kills:
        return Finding(
            state=State.OK,
            code="linger-off",
            measured="off",
            meaning="logind leaves detached processes alone; after a restart of this host "
            "'fedtui up' is needed.",
            remedy=f"For a start at boot: loginctl enable-linger {user}, then 'fedtui service "
            "install'.",
        )
    return Finding(
        state=State.WARN,
        code="linger-kills",
        measured="KillUserProcesses=yes",
        threshold="linger on, or KillUserProcesses=no (systemd-logind)",
        meaning=f"systemd ends every process of {user} at logout: training would stop when SSH "
        "closes.",
        remedy=f"loginctl enable-linger {user}",
        exit_code=8,
    )


def _kills(texts: list[str]) -> bool:
    """The last word on KillUserProcesses; systemd's own default is no here since Debian 9."""
    found = [v for t in texts for v in re.findall(r"(?m)^\s*KillUserProcesses\s*=\s*(\w+)", t)]
    return bool(found) and found[-1].lower() in ("yes", "true", "1", "on")


def _texts() -> list[str]:
    drop_ins = sorted(Path("/etc/systemd/logind.conf.d").glob("*.conf"))
    texts = []
    for path in (*map(Path, _SETTINGS), *drop_ins):
        try:
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return texts
