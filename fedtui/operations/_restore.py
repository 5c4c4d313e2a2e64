"""A home out of its sealed file, here or on another host, and a coordinator that has moved."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from fedtui import events, journal, mounts, processes, site
from fedtui.errors import BusyError, DataError, ResourceError, UsageError
from fedtui.journal import Journal
from fedtui.operations._backup import MANIFEST, Backup
from fedtui.record import iso
from fedtui.site import Home, Membership

_EVERYWHERE = ("0.0.0.0", "::")


def restore(home: Home, file: Path, passphrase: str, *, address: str = "") -> Backup:
    """Open a backup into an empty home; what followed it is lost here, and peers are told so.

    Args:
        address: HOST[:PORT] under which the coordinator is dialled from now on, if not as before.

    Raises:
        UsageError: the home is not empty, or the address is none.
        TrustError: another passphrase.
        DataError: no backup, or it does not hold: nothing is left.
    """
    restorable(home, file, address=address)
    made = not home.path.exists()
    home.path.mkdir(parents=True, mode=0o700, exist_ok=True)
    staged = Home(home.path / ".restoring")
    try:
        mounts.refuse_unsound(home.path)
        home.path.chmod(0o700)
        staged.path.mkdir(mode=0o700)
        about = _unpack(file, passphrase, staged.path)
        records, head = journal.verify(staged.journal)
        if (records, head.hex()) != (about.records, about.head):
            raise _unfit("its journal is not the one that was sealed")
        own = site.load(staged)
        for folder in (staged.state, staged.work, staged.runs, staged.roster):
            folder.mkdir(mode=0o700, exist_ok=True)
        _note_restored(staged, own.name, about)
        if address:
            readdress(staged, address)
        _into_place(staged.path, home.path)
    except BaseException as error:
        shutil.rmtree(home.path if made else staged.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise ResourceError(
                f"{home.path} cannot be written: {error.strerror}.",
                remedy="Free space, and run as the user who is to own the home.",
            ) from error
        raise
    return dataclasses.replace(about, path=str(home.path))


def restorable(home: Home, file: Path, *, address: str = "") -> None:
    """Refuse what ``restore`` could not do, before anybody is asked for a passphrase.

    Raises:
        UsageError: no such file, the home is not empty, or the address is none.
    """
    if not file.is_file():
        raise UsageError(
            f"There is no file {file}.", remedy="Give the one that 'fedtui backup' wrote."
        )
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise UsageError(
            f"{home.path} is not empty.",
            remedy="Restore into a new --home; an old one can be moved aside first.",
        )
    if address:
        parse_address(address)
    site.check_socket_path(home)


def accept_older(home: Home) -> int:
    """Go on although this home's journal is older than what peers saw of it; returns its length.

    Raises:
        UsageError: no home there.
    """
    own = site.load(home)
    book = Journal(home.journal, source="operator")
    try:
        at = book.head()[0]
        now = iso(time.time())
        book.append(events.HomeRestored(site=own.name, at=at, written="", moment=now))
        return at
    finally:
        book.close()


def readdress(home: Home, address: str) -> str:
    """The coordinator has moved: write where it is dialled; returns HOST:PORT.

    At the coordinator's own home also its names and a new certificate from the same authority, so
    that sites trust it as before; if it listened at one address, it listens at all of them.

    Raises:
        UsageError: no address, or this home has joined nothing.
        BusyError: the home's processes run on with the old one.
    """
    host, port = parse_address(address)
    own = site.load(home)
    if running := [name for name in processes.MODULES if processes.running(home, name)]:
        raise BusyError(
            f"Running: {', '.join(running)}.", remedy="'fedtui down' first, then again."
        )
    if own.coordinates:
        from fedtui import certificates

        port = port or own.coordinator.port
        names = tuple(dict.fromkeys((host, *own.coordinator.names)))
        text = home.settings.read_text(encoding="utf-8")
        text = _with(text, "names", json.dumps(names), table="coordinator")
        text = _with(text, "port", str(port), table="coordinator")
        if own.coordinator.host not in (*_EVERYWHERE, host):  # an address of the host it left
            wide = _EVERYWHERE[":" in host]
            text = _with(text, "host", json.dumps(wide), table="coordinator")
        _replace(home.settings, text)
        site.load(home)
        certificates.create_server(home.keys, names=certificates.server_names(names))
    else:
        port = port or site.load_membership(home).port
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if home.membership.exists():
        text = home.membership.read_text(encoding="utf-8")
        text = _with(text, "address", json.dumps(shown))
        _replace(home.membership, _with(text, "addresses", "[]"))
        _note_moved(home, site.load_membership(home))
    return shown


def _note_moved(home: Home, member: Membership) -> None:
    from fedtui import certificates

    authority = certificates.fingerprint(member.authority.encode())
    book = Journal(home.journal, source="operator")
    try:
        book.append(events.FederationJoined(address=member.address, authority=authority))
    finally:
        book.close()


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT or [IPv6]:PORT; port 0 where there is none.

    Raises:
        UsageError: it is none of them.
    """
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?", address)
    port = int(found[3] or 0) if found else 0
    if not found or port > 65535:
        raise UsageError(f"'{address}' is no address.", remedy="Write HOST or HOST:PORT.")
    return found[1] or found[2], port


def _unpack(file: Path, passphrase: str, target: Path) -> Backup:
    from fedtui.operations._sealed import Opener

    sums: dict[str, str] = {}
    manifest: Any = None
    try:
        with (
            file.open("rb") as raw,
            Opener(raw, passphrase) as opener,
            gzip.GzipFile(fileobj=cast(BinaryIO, io.BufferedReader(opener)), mode="rb") as zipped,
            tarfile.open(fileobj=zipped, mode="r|") as archive,
        ):
            for entry in archive:
                content = archive.extractfile(entry)
                if content is None or not _safe(entry.name):
                    raise _unfit("it holds something else than files")
                if entry.name == MANIFEST:
                    manifest = json.loads(content.read())
                else:
                    sums[entry.name] = _extract(content, target / entry.name)
            while zipped.read(1 << 16):  # to the end, whose seal is checked last
                pass
        about = Backup(
            **{
                field: manifest[field]
                for field in ("site", "written", "version", "records", "head")
            },
            roles=tuple(manifest["roles"]),
            files=len(sums),
            path=str(file),
        )
    except FileNotFoundError as error:
        raise UsageError(f"{file} is not there.", remedy="Check the path.") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _unfit("it is no archive of a home") from error
    if manifest["files"] != sums:
        raise _unfit("its files are not those that were sealed")
    return about


def _safe(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _extract(content: Any, path: Path) -> str:
    """Write a file, mode 0600, and return its sha256."""
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        while block := content.read(1 << 20):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _note_restored(staged: Home, name: str, about: Backup) -> None:
    with contextlib.closing(sqlite3.connect(staged.journal)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    book = Journal(staged.journal, source="operator")
    try:
        now = iso(time.time())
        book.append(
            events.HomeRestored(site=name, at=about.records, written=about.written, moment=now)
        )
    finally:
        book.close()


def _into_place(staged: Path, home: Path) -> None:
    """Move everything up; ``site.toml``, which makes a folder a home, comes last."""
    for entry in sorted(staged.iterdir(), key=lambda path: path.name == "site.toml"):
        entry.replace(home / entry.name)
    staged.rmdir()
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _with(text: str, key: str, value: str, *, table: str = "") -> str:
    """``text`` (TOML) with ``key`` of ``table`` set on its own line, everything else untouched."""
    lines = text.splitlines()
    inside = not table
    for number, line in enumerate(lines):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            inside = header[1] == table
            if inside and not any(
                re.match(rf"\s*{key}\s*=", after) for after in _body(lines, number)
            ):
                lines.insert(number + 1, f"{key} = {value}")
                break
        elif inside and re.match(rf"\s*{key}\s*=", line):
            lines[number] = f"{key} = {value}"
            break
    return "\n".join(lines) + "\n"


def _body(lines: list[str], header: int) -> Iterator[str]:
    for line in lines[header + 1 :]:
        if line.lstrip().startswith("["):
            return
        yield line


def _replace(path: Path, text: str) -> None:
    from fedtui import keys

    keys.write_atomically(path, text.encode())


def _unfit(what: str) -> DataError:
    return DataError(
        f"The backup does not hold: {what}.",
        remedy="Take another backup; nothing of this one was kept.",
    )
