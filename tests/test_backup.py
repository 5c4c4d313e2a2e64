"""A home in a sealed file and back, on another host, after the CA is lost, from an older copy."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedtui import certificates, events, journal, keys, operations, progress, site
from fedtui.errors import BusyError, DataError, TrustError, UsageError
from fedtui.flower.continuity import Continuity
from fedtui.flower.link import Link, other_protocol
from fedtui.journal import Journal
from fedtui.operations import _sealed
from fedtui.record import Record
from fedtui.site import Home
from fedtui.study import PROTOCOL
from fedtui.transport import LinkError
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, until

PASSPHRASE = "four words by phone"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "vgr")
    operations.create(home, "vgr", coordinator=True, host="127.0.0.1", names=("old.example",))
    return home


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sealed, "_COST", (10, 8, 1))  # what a passphrase costs is tested once


def contents(home: Home) -> dict[str, bytes]:
    left_out = ("run", "cache", "work", "journal.db")  # and locks, which begin with a dot
    return {
        path.relative_to(home.path).as_posix(): path.read_bytes()
        for path in sorted(home.path.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and not path.relative_to(home.path).parts[0].startswith(left_out)
    }


def rows(home: Home) -> list[Record]:
    book = Journal(home.journal, source="test")
    try:
        return book.read()
    finally:
        book.close()


def test_a_restored_home_is_the_one_that_was_backed_up(home: Home, tmp_path: Path) -> None:
    (home.path / "cache").mkdir()
    (home.path / "cache" / "derived").write_bytes(b"x")
    (home.state / "backup.4194305").mkdir()  # of a process that cannot exist any more
    before, chain = contents(home), rows(home)

    done = operations.backup(home, tmp_path, PASSPHRASE)
    other = Home(tmp_path / "other")
    told = operations.restore(other, Path(done.path), PASSPHRASE)

    assert contents(other) == before
    *same, mark = rows(other)
    assert same == chain
    assert isinstance(mark.event, events.HomeRestored)
    assert (mark.event.at, mark.event.written) == (done.records, done.written)
    journal.verify(other.journal)
    assert (told.site, told.roles) == ("vgr", ("site", "coordinator"))
    assert Path(done.path).name.startswith("vgr-")
    assert Path(done.path).stat().st_mode & 0o777 == 0o600
    assert all(p.stat().st_mode & 0o077 == 0 for p in other.path.rglob("*"))
    assert not (other.path / "cache").exists()
    assert not list(home.state.glob("backup.*"))


def test_nothing_of_a_home_can_be_read_in_its_backup(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "sealed"
    operations.backup(home, file, PASSPHRASE)

    data = file.read_bytes()

    for word in (b"PRIVATE KEY", b"vgr", b"site.toml", b"SQLite", b"BEGIN", b"ustar"):
        assert word not in data


def test_the_passphrase_is_wanted_long_and_right(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "sealed"
    with pytest.raises(UsageError, match="11 characters"):
        operations.backup(home, file, "x" * 11)
    operations.backup(home, file, PASSPHRASE)

    with pytest.raises(TrustError, match="another passphrase"):
        operations.restore(Home(tmp_path / "other"), file, PASSPHRASE + ".")

    assert not (tmp_path / "other").exists()
    with pytest.raises(UsageError, match="exists"):
        operations.backup(home, file, PASSPHRASE)


def test_a_guess_costs_what_scrypt_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    assert 128 * (1 << _sealed._COST[0]) * _sealed._COST[1] == 128 << 20  # bytes a guess


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sealed")
    home = Home(folder / "vgr")
    operations.create(home, "vgr")
    (home.path / "weights").write_bytes(os.urandom(3 * _sealed.CHUNK))  # several chunks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sealed, "_COST", (10, 8, 1))
        operations.backup(home, folder / "file", PASSPHRASE)
    return (folder / "file").read_bytes()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.floats(0, 1, exclude_max=True), how=st.sampled_from(["flip", "cut", "swap", "more"]))
def test_a_backup_that_was_touched_is_refused_and_leaves_nothing(
    sealed: bytes, tmp_path: Path, at: float, how: str
) -> None:
    size = _sealed.CHUNK + 16
    place = int(at * len(sealed))
    changed = bytearray(sealed)
    if how == "flip":
        changed[place] ^= 1
    elif how == "cut":
        del changed[place:]
    elif how == "more":
        changed += b"\0"
    else:  # two whole chunks trade places
        first = _sealed._HEADER
        one, two = changed[first : first + size], changed[first + size : first + 2 * size]
        changed[first : first + 2 * size] = two + one
    file, other = tmp_path / "touched", Home(tmp_path / "other")
    file.write_bytes(changed)

    with pytest.raises((DataError, TrustError)):
        operations.restore(other, file, PASSPHRASE)

    assert not other.path.exists()


def test_a_home_that_is_not_empty_is_not_restored_over(home: Home, tmp_path: Path) -> None:
    operations.backup(home, file := tmp_path / "sealed", PASSPHRASE)
    other = Home(tmp_path / "other")
    other.path.mkdir()
    (other.path / "notes").touch()

    with pytest.raises(UsageError, match="is not empty"):
        operations.restore(other, file, PASSPHRASE)
    (other.path / "notes").unlink()
    operations.restore(other, file, PASSPHRASE)

    assert site.load(other).name == "vgr"


def test_a_moved_coordinator_has_its_new_name_in_settings_and_certificate(
    home: Home, tmp_path: Path
) -> None:
    operations.backup(home, file := tmp_path / "sealed", PASSPHRASE)
    authority = (home.keys / "ca.pem").read_bytes()
    other = Home(tmp_path / "other")

    operations.restore(other, file, PASSPHRASE, address="new.example:9443")

    assert site.load(other).coordinator.names == ("new.example", "old.example")
    assert (site.load(other).coordinator.host, site.load(other).coordinator.port) == (
        "0.0.0.0",
        9443,
    )
    assert site.load_membership(other).address == "new.example:9443"
    assert operations.known(other).address == "new.example:9443"
    assert (other.keys / "ca.pem").read_bytes() == authority
    dated = certificates.read_server(other.keys / "server.pem")
    assert {"new.example", "old.example"} <= set(dated.names)
    with pytest.raises(UsageError, match="is no address"):
        operations.readdress(other, "two words")


def test_the_commands_take_the_passphrase_from_a_file_and_tell_in_json(
    home: Home, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o644)

    def fedtui(*words: str, place: Home, code: int = 0) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "fedtui.cli", *words, "--json", "--home", str(place.path)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        document: dict[str, object] = json.loads(done.stdout)
        return document

    file = ["--passphrase-file", str(secret)]
    open_ = fedtui("backup", str(tmp_path / "b"), *file, place=home, code=2)
    secret.chmod(0o600)
    made = fedtui("backup", str(tmp_path / "b"), *file, place=home)
    other = Home(tmp_path / "other")
    back = fedtui("restore", str(tmp_path / "b"), *file, place=other)
    unasked = fedtui("backup", str(tmp_path / "c"), place=home, code=2)
    accepted = fedtui("restore", "--accept", place=other)

    assert made["records"] == back["records"] == 1
    assert "passphrase-file" in str(unasked["remedy"])
    assert "can be read by others" in str(open_["message"])
    assert accepted["accepted"] == 2


def test_a_home_of_a_newer_fedtui_is_refused_and_one_without_a_number_opens(home: Home) -> None:
    home.format.unlink()
    assert site.load(home).name == "vgr"
    home.format.write_text("2\n")

    with pytest.raises(DataError, match="newer fedtui") as refused:
        site.load(home)

    assert refused.value.exit_code == 6
    assert "Nothing was changed" in refused.value.remedy


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


def signed(home: Home, *, back: int = 0) -> dict[str, object]:
    """The home's head as a peer keeps it."""
    key = keys.load_private(home.keys / "node.key")
    book = Journal(home.journal, source="test")
    at, head = book.head()
    book.close()
    event = events.HeadWitnessed(
        run="r", site="vgr", at=at, head=head.hex(),
        key=keys.public_bytes(key.public_key()).decode(),
        signature=keys.sign_head(key, site="vgr", at=at, head=head.hex()),
    )  # fmt: skip
    return {"head": events.to_fields(event), "time": time.time()}


@contextlib.contextmanager
def continuity(home: Home) -> Iterator[Continuity]:
    key = keys.load_private(home.keys / "node.key").public_key()
    book = Journal(home.journal, source="agent")
    try:
        yield Continuity(book, site="vgr", key=lambda: key)
    finally:
        book.close()


def note(home: Home, times: int) -> None:
    book = Journal(home.journal, source="test")
    for number in range(times):
        book.append(events.SiteSeen(site="halland", here=bool(number % 2)))
    book.close()


def test_a_snapshot_put_back_in_silence_is_named_and_waits_for_a_human(
    home: Home, tmp_path: Path
) -> None:
    note(home, 3)
    snapshot = tmp_path / "snapshot"
    shutil.copytree(home.path, snapshot)
    note(home, 5)
    kept = signed(home)
    with continuity(home) as whole:
        whole.check(kept)  # holds, and so does every later length
    note(home, 2)
    with continuity(home) as whole:
        whole.check(kept)

    old = Home(snapshot)
    with continuity(old) as lost:
        with pytest.raises(TrustError, match="5 records are missing") as refused:
            lost.check(kept)
        with pytest.raises(TrustError):
            lost.check(kept)
        assert "restore --accept" in refused.value.remedy
        operations.accept_older(old)
        lost.check(kept)

    marks = [r.event for r in rows(old) if isinstance(r.event, events.JournalRolledBack)]
    assert [mark.missing for mark in marks] == [5]
    assert any("5 records are missing" in a.event.sentence for a in operations.known(old).alarms)


def test_a_fork_is_named_as_one_and_a_strangers_word_is_no_evidence(
    home: Home, tmp_path: Path
) -> None:
    shutil.copytree(home.path, tmp_path / "copy")
    note(home, 4)
    kept = signed(home)
    other = Home(tmp_path / "copy")
    note(other, 9)

    with continuity(other) as fork:
        with pytest.raises(TrustError, match="forked"):
            fork.check(kept)
        forged = {**kept, "head": {**kept["head"], "at": 400}}  # type: ignore[dict-item]
        assert fork.compare(forged) is None
        assert fork.compare(None) is None


def test_a_backup_restored_by_its_operator_goes_on_and_says_so(home: Home, tmp_path: Path) -> None:
    operations.backup(home, file := tmp_path / "sealed", PASSPHRASE)
    note(home, 6)
    kept = signed(home)
    other = Home(tmp_path / "other")
    operations.restore(other, file, PASSPHRASE)

    with continuity(other) as back:
        back.check(kept)
        history = back.history()

    assert [fields["event"] for fields in history] == ["JournalRolledBack", "HomeRestored"]
    with continuity(home) as peer:
        assert len(peer.learn(history, site="vgr")) == 2
        assert peer.learn(history, site="vgr") == []


@pytest.fixture(scope="module")
def moved() -> Iterator[Federation]:
    """A federation that has trained once, of which things are lost and put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sealed, "_COST", (10, 8, 1))
        with fed.federation(COORDINATOR, SITE) as made:
            assert made.run(fed.study(rounds=2)).outcome == "completed"
            yield made


def test_a_backup_taken_during_a_run_restores_to_a_run_that_completes(moved: Federation) -> None:
    home, old = moved.coordinator, moved.folder / "gone"
    run = moved.start(fed.study(rounds=24))
    until(home, lambda e: isinstance(e, events.RoundEnded) and e.run == run and e.round >= 3)
    file = moved.folder / "sealed"

    done = operations.backup(home, file, PASSPHRASE)
    until(home, lambda e: isinstance(e, events.RoundEnded) and e.run == run and e.round >= 8)
    operations.down(home)
    home.path.rename(old)
    operations.restore(home, file, PASSPHRASE)
    kept_rounds = [e.round for _, e in fed.records(home, events.RoundEnded, run=run)]
    after, there = fed.head(home), fed.head(moved.site)
    moved.up(COORDINATOR)

    assert moved.ended(run).outcome == "completed"
    rounds = [e.round for _, e in fed.records(home, events.RoundEnded, run=run)]
    assert rounds == list(range(1, 25))  # none twice, though the sites had seen some of them
    assert 3 <= max(kept_rounds) < 24
    marks = until(home, lambda e: isinstance(e, events.JournalRolledBack), after=after).event
    assert isinstance(marks, events.JournalRolledBack)
    assert marks.site == COORDINATOR
    assert marks.at >= done.records
    # The site hears of it, and follows the new branch to its end.
    until(moved.site, lambda e: isinstance(e, events.HomeRestored), after=there)
    until(moved.site, lambda e: isinstance(e, events.RunEnded) and e.run == run, after=there)
    shutil.rmtree(old)


@pytest.mark.slow
def test_an_older_copy_of_a_site_takes_no_work_until_it_is_accepted(moved: Federation) -> None:
    home = moved.site
    operations.down(home)
    copy = moved.folder / "copy"
    shutil.copytree(home.path, copy)
    moved.up(SITE)
    at = fed.head(moved.coordinator)
    ended = moved.run(fed.study(rounds=2))
    assert ended.outcome == "completed", ended.cause
    until(
        moved.coordinator,
        lambda e: isinstance(e, events.HeadWitnessed) and e.site == SITE,
        after=at,
    )
    operations.down(home)
    shutil.rmtree(home.path)
    copy.rename(home.path)
    after, there = fed.head(home), fed.head(moved.coordinator)
    moved.up(SITE)

    told = until(home, lambda e: isinstance(e, events.JournalRolledBack), after=after).event
    down = until(home, lambda e: isinstance(e, events.LinkChanged) and not e.up, after=after).event
    shown = operations.status(home)
    operations.accept_older(home)
    ended = moved.run(fed.study(rounds=1))
    assert ended.outcome == "completed", ended.cause
    heard = until(
        moved.coordinator,
        lambda e: isinstance(e, events.JournalRolledBack) and e.site == SITE,
        after=there,
    ).event

    assert isinstance(told, events.JournalRolledBack)
    assert isinstance(down, events.LinkChanged)
    assert told.missing > 0
    assert f"{told.missing} records are missing" in down.cause
    assert "restore --accept" in down.cause
    assert shown["agent"]["link"] == "rolled-back"
    assert heard == told
    # What it exports holds at its peers, who know of the loss; the lost records do not come back.
    operations.export_run(home, "", moved.folder / "export")
    assert operations.verify_export(moved.folder / "export", moved.coordinator).records > 0


@pytest.mark.slow
def test_a_coordinator_at_a_new_address_is_found_with_the_old_authority(moved: Federation) -> None:
    home = moved.coordinator
    with pytest.raises(BusyError, match="Running"):
        operations.readdress(home, "localhost")
    operations.down(home)
    operations.down(moved.site)
    authority = (home.keys / "ca.pem").read_bytes()
    file = moved.folder / "moving"
    operations.backup(home, file, PASSPHRASE)
    shutil.rmtree(home.path)
    port = fed.free_port()

    operations.restore(home, file, PASSPHRASE, address=f"127.0.0.2:{port}")
    moved.port = port
    moved.up(COORDINATOR)
    assert operations.readdress(moved.site, f"127.0.0.2:{port}") == f"127.0.0.2:{port}"
    moved.up(SITE)

    assert moved.run(fed.study(rounds=1)).outcome == "completed"
    assert (home.keys / "ca.pem").read_bytes() == authority


@pytest.mark.slow
def test_a_lost_authority_is_replaced_by_a_new_federation_of_the_same_sites(
    moved: Federation,
) -> None:
    home, away = moved.coordinator, moved.site
    operations.down(home)
    operations.down(away)
    shutil.rmtree(home.path)
    before, node = rows(away), (away.keys / "node.key").read_bytes()

    moved.port = fed.free_port()
    sources = {"digits": {"part": "even"}}
    operations.create(
        home, COORDINATOR, coordinator=True, host="127.0.0.1", port=moved.port, sources=sources
    )
    away.membership.unlink()
    invitation = moved.folder / "again.invitation"
    invitation.write_text(
        operations.invite(
            home, SITE, public_key=away.keys / "node.pub", address=f"127.0.0.1:{moved.port}"
        )
    )
    operations.join(away, invitation)
    for name in moved.homes:
        moved.up(name)

    assert moved.run(fed.study(rounds=1)).outcome == "completed"
    assert rows(away)[: len(before)] == before
    assert (away.keys / "node.key").read_bytes() == node


def test_sites_and_coordinators_of_other_protocols_refuse_each_other_by_name(
    moved: Federation,
) -> None:
    moved.up(COORDINATOR)
    member = site.load_membership(moved.site)
    key = keys.load_private(moved.site.keys / "node.key")
    with Link(member, site=SITE, key=key) as link:
        with pytest.raises(LinkError) as refused:
            link.post("/fedtui/attach", {"protocol": PROTOCOL + 1})
        answer = link.post("/fedtui/attach", {"protocol": PROTOCOL})

    assert refused.value.code == "protocol"
    assert not refused.value.passing
    assert f"speaks protocol {PROTOCOL}" in str(refused.value)
    assert answer["protocol"] == PROTOCOL
    newer, older = other_protocol(PROTOCOL + 1), other_protocol(PROTOCOL - 1)
    assert "Upgrade fedtui here" in newer.remedy
    assert "Upgrade fedtui at the coordinator" in older.remedy
