"""A home in one sealed file, for after a disk's end or another host.

A backup is taken beside running processes: files are replaced in one step wherever fedtui writes
them, the journal comes from SQLite's own backup, and the checkpoints are those that it vouches
for. What can be made again stays out: caches, logs, sockets, stored answers.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from fedtui import __version__, events, journal, site
from fedtui.errors import ResourceError, UsageError
from fedtui.journal import Journal
from fedtui.record import iso
from fedtui.site import Home

SHORTEST_PASSPHRASE = 12  # characters
MANIFEST = "manifest.json"
_MADE_AGAIN = ("run", "cache", "work", "runs", "journal.db", "service.env", ".restoring")
_TRIES = 5  # a checkpoint may be pruned while the journal that names it is copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds.

    Attributes:
        written: When it was taken, UTC.
        records: The journal's length then.
        head: The chain's value there, hex.
    """

    site: str
    roles: tuple[str, ...]
    written: str
    version: str
    records: int
    head: str
    files: int
    path: str


def backup(home: Home, to: Path, passphrase: str, *, with_runs: bool = False) -> Backup:
    """Seal the home into ``to``, a new file or a folder that gets one named by site and time.

    Args:
        with_runs: Every run's last checkpoint and joint model too, not only what an unfinished
            run needs to go on.

    Raises:
        UsageError: no home, a passphrase that is too short, or the file exists.
        ResourceError: the disk is full.
    """
    own = site.load(home)
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(
            f"The passphrase has {len(passphrase)} characters.",
            remedy=f"Use {SHORTEST_PASSPHRASE} or more: the backup holds this site's keys.",
        )
    moment = time.time()
    to = backup_target(home, to, moment)
    home.state.mkdir(mode=0o700, exist_ok=True)
    for left in home.state.glob("backup.*"):  # by one that was killed
        if not Path("/proc", left.suffix[1:]).exists():
            shutil.rmtree(left, ignore_errors=True)
    staged = home.state / f"backup.{os.getpid()}"
    staged.mkdir(mode=0o700)
    scratch = to.with_name(f"{to.name}.tmp")
    try:
        records, head = _stage(home, staged, with_runs=with_runs)
        about: dict[str, Any] = {
            "schema": 1,
            "site": own.name,
            "roles": own.roles,
            "written": iso(moment),
            "version": __version__,
            "records": records,
            "head": head.hex(),
        }
        descriptor = os.open(scratch, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            count = _pack(staged, about, file, passphrase)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(to)
    except (OSError, sqlite3.Error) as error:
        raise ResourceError(
            f"The backup {to} cannot be made: {getattr(error, 'strerror', None) or error}.",
            remedy="Free space there and under the home, or choose another place.",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        scratch.unlink(missing_ok=True)
    fields = {name: value for name, value in about.items() if name != "schema"}
    return Backup(**fields, files=count, path=str(to))


def backup_target(home: Home, to: Path, moment: float | None = None) -> Path:
    """The file that ``backup`` would write, before anybody is asked for a passphrase.

    Raises:
        UsageError: no home, the file exists, or its folder does not.
    """
    own = site.load(home)
    if to.is_dir():
        to = to / time.strftime(f"{own.name}-%Y%m%d-%H%M%SZ.backup", time.gmtime(moment))
    if to.exists():
        raise UsageError(f"{to} exists.", remedy="Give another file, or a folder.")
    if not to.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {to.parent}.", remedy="Make it, or give another.")
    return to


def _stage(home: Home, staged: Path, *, with_runs: bool) -> tuple[int, bytes]:
    """Put what is to be sealed into ``staged``; returns the head of its journal."""
    for entry in sorted(home.path.iterdir()):
        if entry.name.split("-")[0] not in _MADE_AGAIN and not entry.name.endswith(".tmp"):
            _copy(entry, staged / entry.name)
    for attempt in range(_TRIES):
        _link_runs(home, staged)  # before the journal and after: one of them has its checkpoint
        (staged / "journal.db").unlink(missing_ok=True)
        _copy_journal(home.journal, staged / "journal.db")
        _link_runs(home, staged)
        if _prune_runs(staged, all_of_them=with_runs) or attempt == _TRIES - 1:
            break
        shutil.rmtree(staged / "runs", ignore_errors=True)
    return journal.verify(staged / "journal.db")


def _copy(source: Path, target: Path) -> None:
    if source.name.startswith("."):  # a file that is being written
        return
    if source.is_dir() and not source.is_symlink():
        target.mkdir(mode=0o700)
        for entry in sorted(source.iterdir()):
            _copy(entry, target / entry.name)
    elif source.is_file():
        with contextlib.suppress(FileNotFoundError):  # a scratch file that has found its place
            target.write_bytes(source.read_bytes())


def _copy_journal(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    Journal(source, source="operator").close()  # a broken one is named
    with (
        contextlib.closing(sqlite3.connect(source)) as live,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _link_runs(home: Home, staged: Path) -> None:
    for folder in sorted(home.runs.iterdir()) if home.runs.exists() else ():
        target = staged / "runs" / folder.name
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("run.json", "model.safetensors", "checkpoint-*.safetensors"):
            for path in folder.glob(name):
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    os.link(path, target / path.name)


def _prune_runs(staged: Path, *, all_of_them: bool) -> bool:
    """Keep each wanted run's newest checkpoint that the journal vouches for; False: one is gone."""
    book = Journal(staged / "journal.db", source="operator")
    try:
        found = [r.event for r in book.own(("RunSubmitted", "RunEnded", "CheckpointWritten"))]
    finally:
        book.close()
    last = {e.run: e.file for e in found if isinstance(e, events.CheckpointWritten)}
    over = {e.run for e in found if isinstance(e, events.RunEnded)}
    known = {e.run for e in found if isinstance(e, events.RunSubmitted)}
    whole = True
    for folder in sorted((staged / "runs").iterdir()) if (staged / "runs").exists() else ():
        if folder.name not in known:  # submitted after the journal was copied
            shutil.rmtree(folder)
            continue
        keep = {"run.json"}
        if all_of_them or folder.name not in over:
            keep |= {"model.safetensors", last.get(folder.name, "")}
        for path in folder.iterdir():
            if path.name not in keep:
                path.unlink()
        wanted = last.get(folder.name)
        whole &= wanted is None or wanted not in keep or (folder / wanted).exists()
    return whole


def _pack(staged: Path, about: dict[str, Any], file: BinaryIO, passphrase: str) -> int:
    from fedtui.operations._sealed import Sealer

    sums: dict[str, str] = {}
    with (
        Sealer(file, passphrase) as sealer,
        gzip.GzipFile(
            fileobj=cast(BinaryIO, sealer), mode="wb", compresslevel=1, mtime=0
        ) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in _files(staged):
            name = path.relative_to(staged).as_posix()
            with path.open("rb") as source:
                sums[name] = hashlib.file_digest(source, "sha256").hexdigest()
            archive.add(path, name, recursive=False, filter=_anonymous)
        manifest = json.dumps({**about, "files": sums}, indent=1).encode()
        entry = _anonymous(tarfile.TarInfo(MANIFEST))
        entry.size = len(manifest)
        archive.addfile(entry, io.BytesIO(manifest))
    return len(sums)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the host's users: on another host they are others."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry
