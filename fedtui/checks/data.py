"""Whether the data that this site offers can be read, and are what studies of them agree on.

Reading needs libraries that have no place here: a child process does it, and tells counts only.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from fedtui import __version__, site
from fedtui.checks import Finding, State
from fedtui.checks._inquiry import Inquiry
from fedtui.errors import OperatorError
from fedtui.site import Home

NEEDS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()
NETWORK = False
DEEP = False

_LIMIT = "every data set in site.toml can be read, and has the schema of its studies"
_AT_ONCE = 50 << 20  # bytes that load within a second or two
_MOST_FILES = 10_000  # an image set has more; its size is above the limit long before
_SECONDS, _DEEP_SECONDS = 6.0, 300.0
# Counts and hashes only; a DataError names file, row and column, never a value.
_LOAD = """
import json, sys
from pathlib import Path
import datasets
name, path, part, excluded = sys.argv[1:]
try:
    data = datasets.load(
        name,
        path=Path(path) if path else None,
        part=part,
        excluded=Path(excluded) if excluded else None,
    )
    stray = data.excluded.unmatched if data.excluded else 0
    print(
        json.dumps(
            {"features": len(data.features), "schema": data.schema_hash[:12], "stray": stray}
        )
    )
except datasets.DataError as error:
    print(json.dumps({"error": str(error), "remedy": error.remedy}))
"""


def check(inquiry: Inquiry) -> Iterator[Finding]:
    """Open each data set's path, then have a child process load it as a study would."""
    if inquiry.home is None:
        yield _skipped("no home was given")
        return
    try:
        own = site.load(inquiry.home)
    except OperatorError:
        yield _skipped("needs config")
        return
    if not own.data:
        yield _skipped("site.toml names no data")
        return
    for name, source in own.data.items():
        trouble = None if source.path is None else _judged(name, source.path)
        yield trouble or _loaded_once(inquiry.home, name, source, deep=inquiry.deep)


def _loaded_once(home: Home, name: str, source: site.Source, *, deep: bool) -> Finding:
    """As ``_loaded``; what loaded well is not loaded again before a file or fedtui changes."""
    files = list(_files(source.path)) if source.path is not None else []
    excluded = None if source.excluded is None else home.path / source.excluded
    if excluded is not None and excluded.is_file():
        files.append(excluded)
    stamps = [(str(f), s.st_size, s.st_mtime_ns) for f in files if (s := f.stat())]
    key = json.dumps([__version__, name, source.part, str(source.path), str(excluded), stamps])
    note = home.path / "cache" / f"checked-{name}.json"
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return Finding(**{**kept["finding"], "state": State.OK})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never checked, or by another fedtui
    finding = _loaded(name, source, excluded, deep=deep)
    if finding.state is State.OK:
        with contextlib.suppress(OSError):  # a home that cannot be written has its own check
            note.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(note, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"key": key, "finding": asdict(finding)}, file)
    return finding


def _loaded(name: str, source: site.Source, excluded: Path | None, *, deep: bool) -> Finding:
    if source.path is not None and not deep and _heavy(source.path):
        return Finding(
            state=State.SKIP,
            code="data-large",
            measured=f"{name}: {source.path}",
            threshold=f"up to {_AT_ONCE >> 20} MB without --deep",
            meaning=f"The data of {name} can be opened; they are too large to read through now.",
            remedy="Use --deep to read all of it.",
        )
    words = [name, str(source.path or ""), source.part, str(excluded or "")]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _LOAD, *words],
            capture_output=True,
            text=True,
            timeout=_DEEP_SECONDS if deep else _SECONDS,
            check=True,
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Finding(
            state=State.UNKNOWN,
            code="data-slow",
            measured=f"{name}: {source.path or 'bundled'}",
            threshold=_LIMIT,
            meaning=f"Reading the data of {name} took too long to judge them.",
            remedy="Use --deep, or look at the disk or share that they lie on.",
        )
    except (subprocess.CalledProcessError, ValueError):
        told = {"error": f"The data of {name} could not be loaded.", "remedy": "Report this."}
    if "error" in told:
        return Finding(
            state=State.FAIL,
            code="data-unfit",
            measured=f"{name}: {source.path or 'bundled'}",
            threshold=_LIMIT,
            exit_code=6,
            meaning=told["error"],
            remedy=told["remedy"],
        )
    stray = f", {told['stray']} who opted out match nobody" if told["stray"] else ""
    has = f"{told['features']} features, schema {told['schema']}"
    return Finding(
        state=State.OK,
        code="data-ok",
        measured=f"{name}, {source.part}: {has}{stray}",
        threshold=_LIMIT,
        meaning=f"The data of {name} load as studies of them agreed.",
    )


def _heavy(path: Path) -> bool:
    """Whether more than ``_AT_ONCE`` bytes lie there; stops counting when it knows."""
    size = 0
    for file in _files(path):
        size += file.stat().st_size
        if size > _AT_ONCE:
            return True
    return False


def _files(path: Path) -> Iterator[Path]:
    """The files of a data set, at most so many that counting them takes no time."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    yield from islice((file for file in found if file.is_file()), _MOST_FILES)


def _judged(name: str, path: Path) -> Finding | None:
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
    return None


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
