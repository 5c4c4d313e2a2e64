"""The home's one book of record: an append-only, hash-chained table that every process shares.

An append is one SQLite transaction (WAL, synchronous=FULL) that also sets
``sha256(previous hash + record)``; an edit, a deletion or a swap shows at that very record.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtui import events, mounts
from fedtui.errors import (
    BusyError,
    DataError,
    OperatorError,
    ResourceError,
    StorageError,
    UsageError,
)
from fedtui.record import GENESIS, SCHEMA, Record, body_of, chained, parse_body

APPLICATION_ID = 0x46454454  # "FEDT" in SQLite's header; another program's file has another
_PATIENCE_SECONDS = 0.5  # between two tries to write to a disk that is full
_OUTLINED = 5000  # records looked at together; what is alike in them is told once
_BUSY_SECONDS = 10.0  # an append takes milliseconds; a lock held longer is a hung process


class Journal:
    """An open journal of one home, for appending and reading; safe between threads.

    Attributes:
        trouble: What the disk said to the last append, while one waits for it or until the next
            one gets through; else empty.

    Args:
        patient: Whether an append waits for as long as the disk is full or does not write, as a
            process does that is to go on by itself, in place of raising.

    Raises:
        UsageError: there is no journal at ``path``.
        DataError: the file is broken, another program's, or a newer fedtui's.
        StorageError: the disk is full or does not write.
        ResourceError: the journal may not be written.
        BusyError: another process held the journal for more than 10 s.
    """

    def __init__(self, path: Path, *, source: str, patient: bool = False) -> None:
        self._path, self._source, self._patient = path, source, patient
        self.trouble = ""
        self._lock = threading.Lock()
        if not path.exists():
            raise UsageError(
                f"{path.parent} is not a fedtui home: it has no journal.",
                remedy="Make one with 'fedtui init NAME --home DIR', or give another --home.",
            )
        self._db = _open(path)

    def append(self, event: events.Event, *, origin: int = 0) -> Record:
        """Write one event durably; when this returns, it survives a power cut."""
        return self.append_all([(event, origin)])[0]

    def append_all(self, pairs: list[tuple[events.Event, int]]) -> list[Record]:
        """Write events, each with its origin, in one durable transaction."""
        began = time.monotonic()
        while True:
            try:
                records = self._append_all(pairs)
                break
            except StorageError as error:
                self.trouble = str(error)
                if not self._patient:
                    raise
            time.sleep(_PATIENCE_SECONDS)
        cause, self.trouble = self.trouble, ""
        if cause and self._patient:  # of several threads that waited, the first one tells
            seconds = round(time.monotonic() - began, 1)
            self.append(events.StorageAwaited(process=self._source, seconds=seconds, cause=cause))
        return records

    def _append_all(self, pairs: list[tuple[events.Event, int]]) -> list[Record]:
        records = []
        with self._lock, _named(self._path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            seq, last = _tail(self._db)
            for event, origin in pairs:
                seq, now = seq + 1, round(time.time(), 3)
                body = body_of(seq, now, self._source, origin, events.to_json(event))
                last = chained(last, body)
                self._db.execute(
                    "INSERT INTO record VALUES (?, ?, ?, ?, ?)",
                    (seq, origin, type(event).__name__, body, last),
                )
                records.append(
                    Record(
                        seq=seq,
                        time=now,
                        source=self._source,
                        origin=origin,
                        event=event,
                        hash=last,
                    )
                )
        return records

    def read(self, after: int = 0, *, limit: int = -1) -> list[Record]:
        """Records after position ``after``, in order; all of them unless limited."""
        with self._lock, _named(self._path):
            rows = self._db.execute(
                "SELECT seq, body, hash FROM record WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        return [parse_body(*row) for row in rows]

    def pages(self) -> Iterator[Record]:
        """Every record in order; a journal of a million takes the memory of a thousand."""
        after = 0
        while batch := self.read(after, limit=1000):
            yield from batch
            after = batch[-1].seq

    def outline(self) -> Iterator[list[Record]]:
        """Every record in order, some thousands at a time, but of reports of progress that follow
        each other only the last of each site's round: ``progress.fold`` comes to the same.

        A long run's journal is mostly such reports, and to skip one takes a tenth of decoding it.
        """
        after = 0
        while True:
            with self._lock, _named(self._path):
                rows = self._db.execute(
                    "SELECT seq, kind, body, hash FROM record WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, _OUTLINED),
                ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [parse_body(seq, body, value) for seq, _, body, value in _outlined(rows)]

    def own(self, kinds: Collection[str], after: int = 0, *, limit: int = -1) -> list[Record]:
        """Records of ``kinds`` that were not taken over from another journal."""
        marks = ",".join("?" * len(kinds))
        with self._lock, _named(self._path):
            rows = self._db.execute(
                f"SELECT seq, body, hash FROM record WHERE seq > ? AND origin = 0 "
                f"AND kind IN ({marks}) ORDER BY seq LIMIT ?",
                (after, *kinds, limit),
            ).fetchall()
        return [parse_body(*row) for row in rows]

    def newest(self, kinds: Collection[str], *, limit: int, own: bool = False) -> list[Record]:
        """Records of ``kinds``, the newest first, at most ``limit``.

        Args:
            own: Only those that were not taken over from another journal.
        """
        marks = ",".join("?" * len(kinds))
        # The plus keeps the index away: it would sort every record of this journal.
        whose = "AND +origin = 0" if own else ""
        with self._lock, _named(self._path):
            rows = self._db.execute(
                f"SELECT seq, body, hash FROM record WHERE kind IN ({marks}) {whose} "
                f"ORDER BY seq DESC LIMIT ?",
                (*kinds, limit),
            ).fetchall()
        return [parse_body(*row) for row in rows]

    def last_origin(self) -> int:
        """How far the coordinator's news has been taken over into this journal.

        Of the last news, not the furthest: a coordinator put back from a backup counts anew.
        """
        with self._lock, _named(self._path):
            # The plus keeps the index away: it would sort every piece of news.
            row = self._db.execute(
                "SELECT origin FROM record WHERE +origin > 0 ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return int(row[0]) if row else 0

    def head(self) -> tuple[int, bytes]:
        """Position and hash of the last record; (0, 32 zero bytes) before the first."""
        with self._lock, _named(self._path):
            return _tail(self._db)

    def close(self) -> None:
        """Release the file."""
        self._db.close()


def create(path: Path) -> None:
    """Make an empty journal, mode 0600.

    Raises:
        ResourceError: the file system is unsound or full.
    """
    mounts.refuse_unsound(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with _named(path):
        db = sqlite3.connect(path, isolation_level=None)
        db.executescript(
            f"""
            PRAGMA journal_mode = WAL;
            PRAGMA application_id = {APPLICATION_ID};
            PRAGMA user_version = {SCHEMA};
            CREATE TABLE record (
                seq INTEGER PRIMARY KEY, origin INTEGER NOT NULL, kind TEXT NOT NULL,
                body TEXT NOT NULL, hash BLOB NOT NULL
            );
            CREATE INDEX record_origin ON record (origin);
            """
        )
        db.close()


def follow(
    path: Path,
    *,
    after: int = 0,
    stop: Callable[[], bool] = lambda: False,
    seconds: float = 0.1,
) -> Iterator[Record]:
    """Every record after ``after``, then each new one as it is written, until ``stop()``.

    Looks every ``seconds``; an idle look is one query that touches no disk.
    """
    journal = Journal(path, source="viewer")
    try:
        while True:
            batch = journal.read(after, limit=1000)
            for record in batch:
                after = record.seq
                yield record
            if not batch:
                if stop():
                    return
                time.sleep(seconds)
    finally:
        journal.close()


def verify(path: Path) -> tuple[int, bytes]:
    """Recompute the whole chain; returns the head.

    Raises:
        DataError: naming the first record that does not hold.
    """
    db = _open(path)
    last, expected = GENESIS, 1
    try:
        with _named(path):
            rows = db.execute("SELECT seq, origin, kind, body, hash FROM record ORDER BY seq")
            for seq, origin, kind, body, value in rows:
                last = chained(last, body)
                # The columns that queries go by repeat what the hashed body says.
                repeated = body.startswith(f'{{"envelope":{{"origin": {origin}, "seq": {seq},')
                repeated = repeated and f'"event":"{kind}"' in body
                if seq != expected or last != value or not repeated:
                    raise DataError(
                        f"{path}: the chain breaks at record {expected}.",
                        remedy="Records were changed or removed. Keep the file, restore a backup, "
                        "and compare with the heads that the other sites hold.",
                    )
                expected += 1
    finally:
        db.close()
    return expected - 1, last


def _outlined(rows: list[tuple[int, str, str, bytes]]) -> list[tuple[int, str, str, bytes]]:
    """``rows`` without reports of progress that another one, with nothing but such in between,
    makes out of date.
    """
    kept, later = [], set[str]()
    for row in reversed(rows):
        _, kind, body, _ = row
        if kind != events.TrainingProgressed.__name__:
            later.clear()
        else:
            # The keys are sorted: round, run, site, step. No text within holds a bare quote.
            whose = body[body.rindex('"round":') : body.rindex('"step":')]
            if whose in later:
                continue
            later.add(whose)
        kept.append(row)
    return kept[::-1]


def _tail(db: sqlite3.Connection) -> tuple[int, bytes]:
    row = db.execute("SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, GENESIS)


def _open(path: Path) -> sqlite3.Connection:
    with _named(path):
        db = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            db.close()
            raise DataError(
                f"{path} is not a fedtui journal.",
                remedy="Give the right --home; nothing was changed.",
            )
        if version != SCHEMA:
            db.close()
            raise DataError(
                f"{path} has journal format {version}; this fedtui reads {SCHEMA}.",
                remedy="Install the fedtui that wrote it, or a newer one.",
            )
        db.execute("PRAGMA synchronous = FULL")
        return db


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give SQLite's errors an operator's name."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.Error) -> OperatorError:
    text = str(error)
    if "full" in text or "I/O" in text:
        return StorageError(
            f"{path} cannot be written: {text}.",
            remedy="Free disk space; nothing that was acknowledged is lost.",
        )
    if "locked" in text:
        return BusyError(
            f"{path} was locked by another process for {_BUSY_SECONDS:.0f} s.",
            remedy="See which with 'fuser', then try again.",
        )
    if "readonly" in text or "unable to open" in text:
        return ResourceError(
            f"{path} cannot be opened for writing: {text}.",
            remedy="Run as the user who owns the home, and check its permissions.",
        )
    return DataError(
        f"{path} is damaged or no journal: {text}.",
        remedy="Keep the file, restore a backup of the home, and tell the coordinator.",
    )
