"""A journal that is an older copy, or a fork, is known by what its peers hold."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtui import events, keys, operations
from fedtui.errors import TrustError
from fedtui.flower.continuity import Continuity
from fedtui.journal import Journal
from fedtui.site import Home
from tests import homes
from tests.homes import PASSPHRASE, rows


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return homes.coordinator(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    homes.seal_quickly(monkeypatch)


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
