"""Whether only this site's user can read its keys, and this user can write the home."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_PRIVATE = "no rights for others; keys 0600 (fedtui)"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Owner and mode of the home, its folder of keys, and every private key."""
    home = inquiry.home
    if home is None or not home.path.exists():
        yield Finding(
            state=State.SKIP,
            code="no-home",
            meaning="Not measured: no home there.",
            remedy="Make one with 'fedtui init NAME'.",
        )
        return
    yield _judged(home)


def _judged(home: Home) -> Finding:
    if not os.access(home.path, os.W_OK | os.X_OK):
        return _failed(
            "permissions-no-write",
            f"{home.path} cannot be written by this user.",
            f"Become the user who owns it, or 'chown' {home.path}.",
            8,
        )
    owner = home.path.stat().st_uid
    if owner != os.geteuid():
        return Finding(
            state=State.WARN,
            code="permissions-owner",
            measured=f"user {owner}, this is user {os.geteuid()}",
            threshold=_PRIVATE,
            meaning=f"{home.path} belongs to another user than this one: files made by one would "
            "be unreadable to the other.",
            remedy="Run fedtui as the user who owns the home (sudo -u).",
        )
    for path in (home.path, home.keys, *_private(home)):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        forbidden = 0o077 if path.suffix == ".key" or path == home.keys else 0o007
        if mode & forbidden:
            return _failed(
                "permissions-open",
                f"{path} can be read or written by other users (mode {mode:04o}).",
                f"chmod go= {path}",
                5,
            )
        if not os.access(path, os.R_OK):
            return _failed(
                "permissions-no-read",
                f"{path} cannot be read by this user.",
                "Run fedtui as the user who owns the home.",
                8,
            )
    return Finding(
        state=State.OK,
        code="permissions-ok",
        measured=f"user {owner}",
        threshold=_PRIVATE,
        meaning="Only this user can read the site's keys.",
    )


def _private(home: Home) -> list[Path]:
    return sorted(home.keys.glob("*.key")) if os.access(home.keys, os.R_OK | os.X_OK) else []


def _failed(code: str, meaning: str, remedy: str, exit_code: int) -> Finding:
    return Finding(
        state=State.FAIL,
        code=code,
        threshold=_PRIVATE,
        meaning=meaning,
        remedy=remedy,
        exit_code=exit_code,
    )
