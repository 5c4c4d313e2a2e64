"""Whether the data that this site offers can be read by this user; no value is looked at."""

import os
from collections.abc import Iterator
from pathlib import Path

from fedtui import site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import OperatorError

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_LIMIT = "every path in site.toml can be read"


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Open each data set's path; whether it fits a study is asked with 'fedtui data check'."""
    if inquiry.home is None:
        yield _skipped("no home was given")
        return
    try:
        own = site.load(inquiry.home)
    except OperatorError:
        yield _skipped("needs config")
        return
    placed = {name: source.path for name, source in own.data.items() if source.path is not None}
    if not placed:
        yield _skipped("site.toml names no path of data")
        return
    for name, path in placed.items():
        yield _judged(name, path)


def _judged(name: str, path: Path) -> Finding:
    try:
        size = _size(path)
    except FileNotFoundError:
        return _failed(
            "data-missing",
            name,
            path,
            "does not exist: a wrong path, or a share that is not mounted",
        )
    except PermissionError:
        return _failed("data-unreadable", name, path, f"cannot be read by user {os.geteuid()}")
    except OSError as error:
        return _failed("data-broken", name, path, f"cannot be read ({error.strerror})")
    if size == 0:
        return _failed("data-empty", name, path, "is empty")
    return Finding(
        state=State.OK,
        code="data-ok",
        measured=f"{name}: {path}",
        threshold=_LIMIT,
        meaning=f"The data of {name} can be read.",
        remedy=f"'fedtui data check {name}' looks whether it fits a study.",
    )


def _size(path: Path) -> int:
    """Bytes of a file, entries of a folder; opens what it counts."""
    if path.is_dir():
        entries = list(os.scandir(path))
        for entry in entries[:3]:
            if entry.is_file():
                Path(entry.path).open("rb").close()
        return len(entries)
    with path.open("rb") as file:
        file.read(1)
        return os.fstat(file.fileno()).st_size


def _failed(code: str, name: str, path: Path, what: str) -> Finding:
    return Finding(
        state=State.FAIL,
        code=code,
        measured=f"{name}: {path}",
        threshold=_LIMIT,
        exit_code=6,
        meaning=f"The path of {name}, {path}, {what}.",
        remedy=f"Correct [data.{name}] in site.toml, mount the share, or ask for read access.",
    )


def _skipped(why: str) -> Finding:
    return Finding(
        state=State.SKIP,
        code="no-data",
        meaning=f"Not measured: {why}.",
        remedy="Name paths under [data.NAME] in site.toml.",
    )
