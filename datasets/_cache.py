"""What was derived from a site's files, kept beside no one: private, atomic, never sent."""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from datasets import DataError

_OURS = re.compile(r"\w+-[0-9a-f]{16}")
_STALE = 86_400  # seconds; nothing is written for as long without a change


def folder() -> Path:
    """Where caches lie: FEDTUI_CACHE, else the account's own cache folder."""
    if chosen := os.environ.get("FEDTUI_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedtui"


def place(name: str, *, sources: Iterable[Path], code: Iterable[str], schema: Any) -> Path:
    """A private folder that is another one as soon as data, schema or code change.

    Args:
        name: The data set; the folder's name begins with it.
        sources: Files whose path, size and time of change count.
        code: Modules of this package whose text counts.
        schema: What JSON can hold; what was asked for.

    Raises:
        DataError: the folder cannot be made.
    """
    here = Path(__file__).parent
    stats = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources
    ]
    texts = [hashlib.sha256((here / f"{module}.py").read_bytes()).hexdigest() for module in code]
    key = json.dumps([name, sorted(stats), texts, schema], sort_keys=True, default=str)
    path = folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise DataError(
            f"The cache folder {path} cannot be made: {error.strerror}.",
            remedy="Set FEDTUI_CACHE to a folder of this account with room.",
        ) from error
    return path


def kept(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, made by ``make`` on another name first if it is not there: whole or not at all.

    Raises:
        DataError: the disk is full or the folder not writable.
    """
    if path.exists():
        return path
    unfinished = None
    try:
        for left in path.parent.glob(f".*{path.suffix}"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink(missing_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)  # 0600
        os.close(number)
        unfinished = Path(name)
        make(unfinished)
        unfinished.chmod(0o600)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise DataError(
            f"The cache in {path.parent} cannot be written: {error.strerror or 'an error'}.",
            remedy="Make room, or set FEDTUI_CACHE to a folder with room.",
        ) from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
    return path


def purge(where: Path | None = None) -> int:
    """Everything that was cached in ``where`` goes; returns the bytes that were freed.

    Args:
        where: Such a folder, of which only what ``place`` made is ours; None for this account's.
    """
    freed, where = 0, where or folder()
    for path in where.iterdir() if where.is_dir() else ():
        if not (path.is_dir() and _OURS.fullmatch(path.name)):
            continue
        freed += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path, ignore_errors=True)
    return freed
