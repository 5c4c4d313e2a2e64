"""The book of record keeps what it acknowledged, and shows where it was touched."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from fedtui import events, journal, progress
from fedtui.errors import BusyError, DataError, ResourceError, UsageError
from fedtui.journal import Journal
from fedtui.record import SCHEMA

WRITER = """
import sys
from pathlib import Path
from fedtui import events
from fedtui.journal import Journal
book = Journal(Path(sys.argv[1]), source="writer")
for number in range(int(sys.argv[2])):
    record = book.append(events.RunResumed(run=sys.argv[3], round=number))
    print(record.seq, flush=True)
"""


def fact(number: int) -> events.RunResumed:
    return events.RunResumed(run="r", round=number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal.create(made := tmp_path / "journal.db")
    return made


@pytest.fixture
def filled(path: Path) -> Path:
    with opened(path) as book:
        book.append_all([(fact(number), 0) for number in range(1, 11)])
    return path


def opened(path: Path) -> AbstractContextManager[Journal]:
    """A journal that is closed at the end."""
    return closing(Journal(path, source="test"))


def writer(path: Path, *, rows: int, name: str = "r") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(rows), name],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_what_was_appended_reads_back_in_order(path: Path) -> None:
    with opened(path) as book:
        written = [book.append(fact(number)) for number in range(5)]

        read = book.read()

    assert read == written
    assert [record.seq for record in read] == [1, 2, 3, 4, 5]
    assert journal.verify(path) == (5, read[-1].hash)


def test_a_kill_loses_no_acknowledged_record(path: Path) -> None:
    acknowledged = 0
    chance = random.Random(11)
    for _ in range(25):
        with writer(path, rows=100_000) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 200)):
                acknowledged = int(child.stdout.readline())
            child.kill()
            rest = child.stdout.read().split("\n")
            whole = [int(line) for line in rest[:-1]]
            acknowledged = max([acknowledged, *whole])

        last, _ = journal.verify(path)

        assert last >= acknowledged


def test_appends_from_several_processes_make_one_chain(path: Path) -> None:
    children = [writer(path, rows=150, name=f"run-{number}") for number in range(3)]
    for child in children:
        child.communicate(timeout=60)

    last, _ = journal.verify(path)

    assert [child.returncode for child in children] == [0, 0, 0]
    assert last == 450
    with opened(path) as book:
        rounds: dict[str, list[int]] = {}
        for record in book.read():
            assert isinstance(record.event, events.RunResumed)
            rounds.setdefault(record.event.run, []).append(record.event.round)
    assert list(rounds.values()) == [list(range(150))] * 3


def test_a_refused_event_leaves_the_journal_as_it_was(filled: Path) -> None:
    unfit = events.RoundEnded(
        run="r", round=1, metrics={"loss": float("nan")}, by_site={}, examples=1, seconds={}
    )
    with opened(filled) as book:
        with pytest.raises(ValueError, match="JSON"):
            book.append_all([(fact(11), 0), (unfit, 0)])
        book.append(fact(11))

    assert journal.verify(filled)[0] == 11


TAMPER: dict[str, tuple[list[str], int]] = {
    "edited": (["UPDATE record SET body = replace(body, '\"round\":4', '\"round\":5')"], 4),
    "edited in the last place": (["UPDATE record SET body = body || ' ' WHERE seq=10"], 10),
    "hash edited": (["UPDATE record SET hash = zeroblob(32) WHERE seq=7"], 7),
    "deleted": (["DELETE FROM record WHERE seq=5"], 5),
    "first deleted": (["DELETE FROM record WHERE seq=1"], 1),
    "deleted and closed up": (
        ["DELETE FROM record WHERE seq=5", "UPDATE record SET seq = seq - 1 WHERE seq > 5"], 5,
    ),
    "swapped": (
        [
            "UPDATE record SET seq = 99 WHERE seq=3",
            "UPDATE record SET seq = 3 WHERE seq=8",
            "UPDATE record SET seq = 8 WHERE seq=99",
        ], 3,
    ),
    "added": (["INSERT INTO record SELECT 11, origin, kind, body, hash FROM record LIMIT 1"], 11),
    "filed under another kind": (["UPDATE record SET kind = 'RunEnded' WHERE seq=6"], 6),
    "filed as another journal's": (["UPDATE record SET origin = 3 WHERE seq=9"], 9),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPER)
def test_a_touched_record_is_named(filled: Path, how: str) -> None:
    statements, place = TAMPER[how]
    db = sqlite3.connect(filled)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()

    with pytest.raises(DataError, match=rf"breaks at record {place}\b"):
        journal.verify(filled)


def foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE patients (id TEXT)")
    db.close()


def newer(path: Path) -> None:
    journal.create(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (foreign, "not a fedtui journal"),
        (newer, f"format {SCHEMA + 1}"),
        (lambda path: path.write_bytes(b"garbage" * 1000), "damaged or no journal"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 5000), "damaged or no"),
        (lambda path: path.touch(), "not a fedtui journal"),
    ],
)
def test_what_is_no_journal_of_ours_is_refused_and_untouched(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(path := tmp_path / "journal.db")
    before = path.read_bytes()

    for use in (lambda: Journal(path, source="test"), lambda: journal.verify(path)):
        with pytest.raises(DataError, match=words) as refused:
            use()
        assert refused.value.exit_code == 6
    assert path.read_bytes() == before


def test_a_missing_journal_is_named_as_no_home(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a fedtui home"):
        Journal(tmp_path / "journal.db", source="test")


def test_a_damaged_page_is_named(filled: Path) -> None:
    with opened(filled) as book:
        book.append_all([(fact(number), 0) for number in range(500)])
    db = sqlite3.connect(filled)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(filled.read_bytes())
    data[8192:40960] = b"\xff" * (40960 - 8192)
    filled.write_bytes(data)

    with pytest.raises(DataError):
        journal.verify(filled)


def test_a_record_of_a_newer_fedtui_is_named(filled: Path) -> None:
    db = sqlite3.connect(filled)
    db.execute("UPDATE record SET body = replace(body, 'RunResumed', 'Novelty') WHERE seq = 6")
    db.commit()
    db.close()

    with opened(filled) as book, pytest.raises(DataError, match="Record 6"):
        book.read()


def test_a_journal_held_by_a_hung_process_is_busy(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_BUSY_SECONDS", 0.2)
    hung = sqlite3.connect(filled, isolation_level=None)
    hung.execute("BEGIN IMMEDIATE")
    try:
        with opened(filled) as book, pytest.raises(BusyError):
            book.append(fact(11))
    finally:
        hung.close()


def test_a_follower_sees_what_others_write(path: Path) -> None:
    with opened(path) as book:
        book.append(fact(1))
        found: list[int] = []

        for record in journal.follow(path, stop=lambda: len(found) >= 3, seconds=0.01):
            found.append(record.seq)
            if len(found) < 3:
                book.append(fact(2))

    assert found == [1, 2, 3]


def test_news_from_elsewhere_is_kept_apart(path: Path) -> None:
    with opened(path) as book:
        book.append(fact(1))
        book.append(fact(2), origin=40)
        book.append(events.SiteSeen(site="a", here=True))

        assert book.last_origin() == 40
        assert [r.seq for r in book.own(["RunResumed", "SiteSeen"])] == [1, 3]
        assert [r.seq for r in book.newest(["RunResumed"], limit=9)] == [2, 1]
        assert [r.seq for r in book.newest(["RunResumed"], limit=1, own=True)] == [1]


def test_a_journal_is_its_owners_alone(filled: Path) -> None:
    assert filled.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system (root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_named_and_loses_nothing(small_disk: Path) -> None:
    journal.create(path := small_disk / "journal.db")
    acknowledged = 0
    with opened(path) as book:
        with pytest.raises(ResourceError) as refused:  # noqa: PT012
            for _ in range(100_000):
                batch = [(events.RunResumed(run="r" * 200, round=1), 0)] * 50
                acknowledged = book.append_all(batch)[-1].seq
        read = len(book.read())

    assert refused.value.exit_code == 8
    assert read == acknowledged > 0
    assert journal.verify(path)[0] == acknowledged


# A journal exactly as fedtui 0.1.0 wrote it; never to be edited.
WRITTEN = (
    '{"envelope":{"origin": 0, "seq": 1, "source": "coordinator", "time": 1795449817.167},"event":'
    '{"event":"RunSubmitted","fingerprint":"ab","interop":false,"metric":"accuracy","rounds":2,'
    '"run":"digits-1","sites":["halland","vgr"],"study":"digits","train_sites":["halland","vgr"]}}',
    '{"envelope":{"origin": 0, "seq": 2, "source": "coordinator", "time": 1795449817.191},"event":'
    '{"by_site":{"vgr":{"accuracy":0.5}},"event":"RoundEnded","examples":100,"metrics":'
    '{"accuracy":0.5,"loss":0.69},"round":1,"run":"digits-1","seconds":{"total":1.5}}}',
    '{"envelope":{"origin": 0, "seq": 3, "source": "coordinator", "time": 1795449817.199},"event":'
    '{"cause":"all 2 rounds done","code":0,"event":"RunEnded","file":"m","outcome":"completed",'
    '"run":"digits-1","sha256":"cd"}}',
)
HASHES = (
    "846620B13C663675D32E74D8565EB1B6D580D987F030B313F8CB728FE4F35FE6",
    "96F97A7CA9591FED8AB57FC939DAD4D326F5C5E485F402E9F7FC2F64393A4B70",
    "7DB5DF72C9FF30865D51274A4FE40CA3F8A90C0C085819C094BAD2C09F24C6D6",
)


def test_a_journal_of_the_first_version_opens_verifies_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA application_id = 1178944596; PRAGMA user_version = 1;"
        "CREATE TABLE record (seq INTEGER PRIMARY KEY, origin INTEGER NOT NULL, kind TEXT NOT NULL,"
        " body TEXT NOT NULL, hash BLOB NOT NULL); CREATE INDEX record_origin ON record (origin);"
    )
    for seq, (body, value) in enumerate(zip(WRITTEN, HASHES, strict=True), start=1):
        row = (seq, json.loads(body)["event"]["event"], body, bytes.fromhex(value))
        db.execute("INSERT INTO record VALUES (?, 0, ?, ?, ?)", row)
    db.close()

    assert journal.verify(path) == (3, bytes.fromhex(HASHES[-1]))
    book = Journal(path, source="test")
    known = progress.fold(book.read())
    book.append(events.SiteSeen(site="vgr", here=True))
    book.close()

    assert known.runs["digits-1"].state == "COMPLETED"
    assert known.runs["digits-1"].history[0].metrics == {"accuracy": 0.5, "loss": 0.69}
    assert journal.verify(path)[0] == 4
