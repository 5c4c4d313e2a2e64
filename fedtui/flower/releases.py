"""What this site has told of which patients, so that no two answers tell of their difference.

Two exact statistics over cohorts that differ by one patient tell that patient's values. Kept in
the home for good: whose data stood behind each release, as numbers under the site's own secret.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtui.errors import ResourceError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS release (
    kind TEXT NOT NULL, question TEXT NOT NULL, cohort TEXT NOT NULL, answer TEXT NOT NULL,
    time REAL NOT NULL, PRIMARY KEY (kind, question, cohort)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier release of the same or almost the same patients.

    Attributes:
        answer: What was told then; None where that was the answer to another question.
        changed: By how many patients the cohort differs from the one then; 0 is the very same.
        time: When, seconds since 1970.
    """

    answer: Any
    changed: int
    time: float


class Releases:
    """The memory of one site's exit.

    Args:
        folder: Made if it is not there, mode 0700.
        minimum: By how many patients cohorts must differ to be told of apart.

    Raises:
        ResourceError: the disk is full, or a file damaged; of every method.
    """

    def __init__(self, folder: Path, *, minimum: int) -> None:
        self._minimum = minimum
        self.cohorts = folder / "cohorts"
        self.cohorts.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        path = folder / "releases.db"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        with _named():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        self._people = lru_cache(8)(self._read)  # a cohort of 100,000 takes 0.8 MB
        self._apart = lru_cache(1024)(self._differ)

    def earlier(
        self, kind: str, question: str, cohort: str, *, across: bool = False
    ) -> Earlier | None:
        """The release to go by, or None where there is none of almost the same patients.

        Of the very same patients anything may be told anew, e.g. after a column was mended; of
        almost the same ones the earlier answer is told again, for the difference would be theirs.
        With ``across`` also another question of this kind counts, e.g. a table by other age bands:
        its answer is None, for what lies between the two would be told by subtraction.

        Args:
            cohort: Hex sha256, under which ``cohorts`` has the patients.
        """
        with self._lock, _named():
            rows = self._db.execute(
                "SELECT question, cohort, answer, time FROM release WHERE kind = ?"
                + ("" if across else " AND question = ?")
                + " ORDER BY time",
                (kind,) if across else (kind, question),
            ).fetchall()
        near = [(self._apart(cohort, row[1]), row) for row in rows]
        near = [(apart, row) for apart, row in near if apart < self._minimum]
        if not near:
            return None
        apart, row = min(near, key=lambda item: (item[1][0] != question, item[0]))
        answer = json.loads(row[2]) if row[0] == question else None
        return Earlier(answer=answer, changed=apart, time=row[3])

    def keep(self, kind: str, cohort: str, answers: Mapping[str, Any]) -> None:
        """Write down, before it leaves, what is told, by question; the last answer stands."""
        rows = [
            (kind, question, cohort, json.dumps(answer, sort_keys=True), time.time())
            for question, answer in answers.items()
        ]
        with self._lock, _named(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _differ(self, one: str, other: str) -> int:
        """How many patients are in one cohort and not in both."""
        if one == other:
            return 0
        return len(np.setxor1d(self._people(one), self._people(other), assume_unique=True))

    def _read(self, cohort: str) -> NDArray[np.uint64]:
        try:
            people: NDArray[np.uint64] = np.fromfile(self.cohorts / f"{cohort}.u64", dtype="<u8")
            return people
        except OSError as error:
            raise ResourceError(
                "Who stood behind an earlier release cannot be read, so nothing was sent.",
                remedy="Restore the folder 'releases' of the home from a backup.",
            ) from error


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ResourceError(
            "What is released cannot be written down, so nothing was sent.",
            remedy="Check the disk under the home, and 'releases' in it; a backup has it too.",
        ) from error
