"""Where the dashboard's records come from: a home's journal as it grows, or a log played again."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fedtui.errors import DataError, UsageError
from fedtui.journal import Journal
from fedtui.progress import Progress, fold
from fedtui.record import Record, parse_line

_LOOK_SECONDS = 0.2  # an idle look is one query that touches no disk
_MADE_SECONDS = 1.0  # a journal that has just appeared has no tables for a moment
_BATCH = 500  # records; a fold of so many takes about 20 ms


class Source(Protocol):
    """Records in order, in batches; an empty batch says that no more are there for now.

    Attributes:
        start: What is known before the first record.
    """

    start: Progress

    def batches(self, stop: threading.Event) -> Iterator[list[Record]]:
        """Every record, then each new one, until ``stop`` or the end."""

    def now(self) -> float:
        """What the clock shows, seconds since 1970: a replay has a clock of its own."""


class Live:
    """The journal at ``path``, from its beginning and as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.start = Progress()

    def batches(self, stop: threading.Event) -> Iterator[list[Record]]:
        """Every record of the journal, then new ones; waits for one that is not made yet."""
        made = self._path.exists()
        while not self._path.exists() and not stop.is_set():
            yield []
            stop.wait(_LOOK_SECONDS)
        if not made:
            stop.wait(_MADE_SECONDS)
        if stop.is_set():
            return
        journal = Journal(self._path, source="viewer")
        after = 0
        try:
            for batch in journal.outline():
                if stop.is_set():
                    return
                after = batch[-1].seq
                yield batch
            while not stop.is_set():
                batch = journal.read(after, limit=_BATCH)
                if batch:
                    after = batch[-1].seq
                yield batch
                if not batch:
                    stop.wait(_LOOK_SECONDS)
        finally:
            journal.close()

    def now(self) -> float:
        """The clock on the wall."""
        return time.time()


class Replay:
    """Records with the pauses they had, ``speed`` times as fast; 0 shows the end at once.

    Args:
        site: Whose log it is, where the records do not tell.
    """

    def __init__(self, records: Sequence[Record], *, speed: float = 1.0, site: str = "") -> None:
        self.start = Progress(site=site)
        self._records, self._speed = records, speed
        self._start = records[0].time if records else 0.0
        self._end = records[-1].time if records else 0.0
        self._began = time.monotonic()

    def batches(self, stop: threading.Event) -> Iterator[list[Record]]:
        """The records whose time has come."""
        position = 0
        self._began = time.monotonic()
        while not stop.is_set():
            batch: list[Record] = []
            while position < len(self._records) and len(batch) < _BATCH:
                if self._records[position].time > self.now():
                    break
                batch.append(self._records[position])
                position += 1
            yield batch
            if not batch:
                if position == len(self._records):
                    return
                stop.wait(0.05)

    def now(self) -> float:
        """The time in the log; it stands still at its end."""
        if not self._speed:
            return self._end
        return min(self._end, self._start + (time.monotonic() - self._began) * self._speed)


class Follower(threading.Thread):
    """Folds a source beside the screen and hands over snapshots, at most one every ``seconds``.

    No record is dropped: what arrives in between is in the next snapshot. ``deliver`` gets the
    state, the records since the last snapshot, and an error that ended the source, if any.
    """

    def __init__(
        self,
        source: Source,
        deliver: Callable[[Progress, list[Record], Exception | None], None],
        *,
        seconds: float,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._source, self._deliver, self._seconds = source, deliver, seconds
        self._stop_event = threading.Event()
        self.caught_up = threading.Event()
        self.reading = True  # the journal's beginning, which is history and not news

    def run(self) -> None:
        """Follow until stopped."""
        progress, fresh, due = self._source.start, list[Record](), 0.0
        problem: Exception | None = None
        try:
            for batch in self._source.batches(self._stop_event):
                progress = fold(batch, progress)
                fresh += batch
                read = self.reading and not batch
                self.reading = self.reading and bool(batch)
                if read or (fresh and not self.reading and time.monotonic() >= due):
                    self._deliver(progress, fresh, None)
                    fresh, due = [], time.monotonic() + self._seconds
                elif len(fresh) > 10 * _BATCH:  # a long history: show that something happens
                    self._deliver(progress, fresh, None)
                    fresh = []
                if not batch:
                    self.caught_up.set()
        except Exception as error:  # the thread's boundary: the screen says it
            problem = error
        if (fresh or problem) and not self._stop_event.is_set():
            self._deliver(progress, fresh, problem)
        self.caught_up.set()

    def stop(self) -> None:
        """End soon; does not wait."""
        self._stop_event.set()


def read_log(path: Path) -> list[Record]:
    """The records of an exported log (one JSON object a line), or of a journal file.

    Raises:
        UsageError: the file cannot be read.
        DataError: naming the first line that is no record.
    """
    try:
        with path.open("rb") as file:
            is_journal = file.read(15) == b"SQLite format 3"
        if is_journal:
            journal = Journal(path, source="viewer")
            try:
                return journal.read()
            finally:
                journal.close()
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"{path} cannot be read: {cause}.", remedy="Give a log that fedtui exported."
        ) from error
    return [_record(path, number, text) for number, text in enumerate(lines, start=1) if text]


def _record(path: Path, number: int, text: str) -> Record:
    try:
        return parse_line(json.loads(text))[0]
    except (ValueError, TypeError, DataError) as error:
        raise DataError(
            f"{path}, line {number}: not a record of fedtui's log.",
            remedy="Give a log that 'fedtui export' or '--json' wrote, whole.",
        ) from error


def site_of(log: Path) -> str:
    """Whose log an export holds, from its ``about.json``; empty where it does not tell."""
    try:
        about = json.loads((log.parent / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(about.get("site", "")) if isinstance(about, dict) else ""
