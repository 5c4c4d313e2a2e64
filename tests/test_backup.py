"""A home in a sealed file and back, on another host, after the CA is lost, from an older copy."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedtui import certificates, events, journal, keys, operations, site
from fedtui.errors import BusyError, DataError, TrustError, UsageError
from fedtui.flower.link import Link, other_protocol
from fedtui.operations import _sealed
from fedtui.site import Home
from fedtui.study import PROTOCOL
from fedtui.transport import LinkError
from tests import federation as fed
from tests import homes
from tests.federation import COORDINATOR, SITE, Federation, until
from tests.homes import PASSPHRASE, rows


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return homes.coordinator(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    homes.seal_quickly(monkeypatch)


def contents(home: Home) -> dict[str, bytes]:
    left_out = ("run", "cache", "work", "journal.db")  # and locks, which begin with a dot
    return {
        path.relative_to(home.path).as_posix(): path.read_bytes()
        for path in sorted(home.path.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and not path.relative_to(home.path).parts[0].startswith(left_out)
    }


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
        homes.seal_quickly(patch)
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


@pytest.fixture(scope="module")
def moved() -> Iterator[Federation]:
    """A federation that has trained once, of which things are lost and put back."""
    with pytest.MonkeyPatch.context() as patch:
        homes.seal_quickly(patch)
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
