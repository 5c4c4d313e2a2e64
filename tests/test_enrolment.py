"""Enrolment over the real thing: a coordinator's process, TLS, and what its operators do."""

import contextlib
import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtui import checks, events, invitations, keys, operations, processes, roster, site
from fedtui.errors import BusyError, OperatorError, TrustError, UsageError
from fedtui.flower.link import Link
from fedtui.invitations import Invitation
from fedtui.site import Home
from fedtui.transport import LinkError
from tests import federation as fed
from tests.enrolling import asking, code_for, home_for, new_names, state_of
from tests.federation import Federation, records


@pytest.fixture(scope="module")
def place() -> Iterator[Federation]:
    """A coordinator alone, up, and a folder for the homes of those who join."""
    with fed.coordinator() as made:
        operations.up(made.coordinator)
        yield made


@pytest.fixture
def names() -> Iterator[str]:
    return new_names()


def test_a_site_that_waits_for_confirmation_is_called_pending_at_both_ends(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home = home_for(place, name)
    operations.claim(home, code_for(place, name))
    operations.up(home)
    fed.until(home, lambda e: isinstance(e, events.LinkChanged) and e.code == "pending")

    health, found = operations.health(home), checks.run(home=home)
    with pytest.raises(UsageError) as refused:
        operations.run(place.coordinator, fed.study(sites=(name, "nobody")))
    operations.down(home)
    operations.decline(place.coordinator, name)

    assert health is not None
    assert (health.exit_code, checks.exit_code(found)) == (5, 5)
    assert "has not confirmed this site" in str(health)
    assert {f.check for f in found if f.blocks} == {"identity"}
    assert {f.code for f in found if f.check == "agent"} == {"agent-not-let-in"}
    assert f"{name} is pending: fedtui sites --confirm {name};" in str(refused.value)
    assert "nobody is not on this coordinator's roster: fedtui invite nobody." in str(refused.value)


def test_a_code_two_commands_and_six_words_enrol_a_site(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home = home_for(place, name)

    issued = operations.issue(place.coordinator, name, address=f"127.0.0.1:{place.port}")
    pending = operations.claim(home, issued.code)
    (shown,) = (e for e in operations.sites(place.coordinator) if e["site"] == name)
    with Link(pending.member, site=name, key=keys.load_private(home.keys / "node.key")) as link:
        with pytest.raises(LinkError) as early:
            link.post("/fedtui/attach", {})
        operations.confirm(place.coordinator, name, f"  {pending.words.upper()} ")
        operations.await_confirmation(pending, on_trouble=print)
        attached = link.post("/fedtui/attach", {})

    assert len(issued.code) <= 60
    assert (shown["state"], shown["words"]) == ("pending", pending.words)
    assert early.value.code == "pending"
    assert attached["node_id"]
    assert state_of(place, name) == ["enrolled"]
    assert site.load(home).name == name
    (told,) = (e for _, e in records(place.coordinator, events.SiteClaimed) if e.site == name)
    assert told.words == pending.words


def test_neither_private_key_nor_secret_leaves_where_it_was_made(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home = home_for(place, name)
    code = code_for(place, name)
    operations.claim(home, code)

    private = (home.keys / "node.key").read_text().splitlines()[1].encode()
    secret = invitations.parse(code).secret
    here = [path.read_bytes() for path in place.coordinator.path.rglob("*") if path.is_file()]
    invitation = place.coordinator.roster / f"{name}.invitation"

    assert not any(private in data for data in here)
    assert not any(form in data for data in here for form in (secret.hex().encode(), code.encode()))
    for path in (invitation, home.keys / "node.key", home.membership):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_invitation_file_enrols_as_a_code_does_and_is_used_up_by_it(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    file = place.folder / f"{name}.invitation"
    issued = operations.issue(place.coordinator, name, address=f"127.0.0.1:{place.port}")
    file.write_text(issued.file)

    pending = operations.claim(home_for(place, name), str(file))
    with pytest.raises(TrustError, match="used already"):
        operations.claim(home_for(place, "thief"), issued.code)

    assert pending.site == name
    assert state_of(place, name) == ["pending"]


def test_joining_again_with_the_same_home_changes_nothing(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home, code = home_for(place, name), code_for(place, name)

    first = operations.claim(home, code)
    again = operations.claim(home, code)
    operations.confirm(place.coordinator, name, first.words)
    after = operations.claim(home, code)

    assert again.words == first.words == after.words
    assert (again.enrolled, after.enrolled) == (False, True)


def test_an_invitation_survives_the_coordinators_restart(
    place: Federation, names: Iterator[str]
) -> None:
    open_, claimed = next(names), next(names)
    code = code_for(place, open_)
    pending = operations.claim(home_for(place, claimed), code_for(place, claimed))

    operations.down(place.coordinator)
    operations.up(place.coordinator)

    assert operations.claim(home_for(place, open_), code).site == open_
    operations.confirm(place.coordinator, claimed, pending.words)
    operations.await_confirmation(pending, on_trouble=print)


def test_other_words_do_not_enrol(place: Federation, names: Iterator[str]) -> None:
    name = next(names)
    pending = operations.claim(home_for(place, name), code_for(place, name))
    first, *rest = pending.words.split()

    for heard in ("", " ".join(rest), " ".join([*rest, first]), "acid " * 6):
        with pytest.raises(TrustError, match="not the words"):
            operations.confirm(place.coordinator, name, heard)

    assert state_of(place, name) == ["pending"]


def test_a_declined_site_hears_it_and_its_name_can_be_invited_again(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    pending = operations.claim(home_for(place, name), code_for(place, name))
    with pytest.raises(BusyError, match="waits for confirmation"):
        code_for(place, name)

    operations.decline(place.coordinator, name)
    with pytest.raises(TrustError, match="declined"):
        operations.await_confirmation(pending, on_trouble=print)
    again = operations.claim(home_for(place, name), code_for(place, name))

    assert again.words != pending.words
    assert state_of(place, name) == ["pending"]


def test_a_site_that_lost_its_key_is_enrolled_anew_and_the_old_key_works_until_then(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    old_home = home_for(place, name)
    first = operations.claim(old_home, code_for(place, name))
    operations.confirm(place.coordinator, name, first.words)
    old = Link(first.member, site=name, key=keys.load_private(old_home.keys / "node.key"))

    second = operations.claim(home_for(place, f"{name}-new"), code_for(place, name))
    states = state_of(place, name)
    before = old.post("/fedtui/attach", {})
    operations.confirm(place.coordinator, name, second.words)
    with pytest.raises(LinkError) as after:
        old.post("/fedtui/attach", {})
    old.close()

    assert states == ["enrolled", "pending"]
    assert before["node_id"]
    assert after.value.code == "forged"
    assert state_of(place, name) == ["enrolled"]


def test_who_asks_too_much_is_held_back_and_a_site_is_not(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home = home_for(place, name)
    pending = operations.claim(home, code_for(place, name))
    operations.confirm(place.coordinator, name, pending.words)
    claim = json.dumps(dict.fromkeys(("handle", "site", "key", "nonce", "proof"), "0"))

    with asking(place) as client:
        asked = [client.post("/fedtui/enrol", content=claim) for _ in range(60)]
    with Link(pending.member, site=name, key=keys.load_private(home.keys / "node.key")) as link:
        attached = link.post("/fedtui/attach", {})

    held = [answer for answer in asked if answer.status_code == 429]
    assert held
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in held)
    assert attached["node_id"]


def test_loopback_is_reached_without_the_proxy_that_is_set(
    place: Federation, names: Iterator[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(names)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{fed.free_port()}")

    assert operations.claim(home_for(place, name), code_for(place, name)).site == name


def test_a_name_too_long_for_a_code_gives_way_to_an_address_or_a_file(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    long = "decaihealth.sahlgrenska.vgregion.example"
    operations.create(home, "dmz", coordinator=True, data=False, names=(long, "10.20.30.40"))

    by_address = operations.issue(home, "halland")
    with pytest.raises(UsageError, match="too long for a code"):
        operations.issue(home, "skane", address=long)
    by_file = operations.issue(home, "lund", address=long, by_file=True)

    assert by_address.code.startswith("10.20.30.40/")
    assert by_file.code == ""
    assert json.loads(by_file.file)["address"] == f"{long}:8443"
    assert [e["site"] for e in operations.sites(home)] == ["halland", "lund"]


def test_a_damaged_invitation_is_named(place: Federation, tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    operations.create(home, "dmz", coordinator=True, data=False)
    (home.roster / "halland.invitation").write_text("{")

    with pytest.raises(OperatorError, match="damaged"):
        operations.sites(home)


def test_an_invitation_reads_back_as_it_was_written(tmp_path: Path) -> None:
    made = Invitation(
        site="halland", handle="abcdef", verifier="00", made=1.5, addresses=("192.0.2.1",)
    )

    roster._write(tmp_path / "i", made)

    assert roster._read(tmp_path / "i") == made


def fedtui(home: Home, *words: str, check: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "fedtui.cli", *words, "--home", str(home.path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_commands_say_what_to_do_next(place: Federation, names: Iterator[str]) -> None:
    name = next(names)
    home, dmz = home_for(place, name), place.coordinator

    invited = fedtui(dmz, "invite", name, "--address", f"127.0.0.1:{place.port}")
    joined = fedtui(home, "join", invited.stdout.strip(), "--no-wait")
    listed = fedtui(dmz, "sites")
    unsaid = fedtui(dmz, "sites", "--confirm", name, check=2)
    words = joined.stdout.strip().rpartition(": ")[2]
    wrong = fedtui(dmz, "sites", "--confirm", name, "--words", words + " acid", check=5)
    confirmed = fedtui(dmz, "sites", "--confirm", name, "--words", words, "--json")
    typo = fedtui(home, "join", invited.stdout.strip()[:-2], check=2)

    assert len(invited.stdout.strip()) <= 60
    assert f"fedtui sites --confirm {name}" in invited.stderr
    assert words in joined.stderr
    assert words in listed.stdout
    assert "six words are missing" in unsaid.stderr
    assert "--decline" in wrong.stderr
    assert {"site": name, "state": "enrolled"}.items() <= next(
        e for e in json.loads(confirmed.stdout)["sites"] if e["site"] == name
    ).items()
    assert "not whole" in typo.stderr


def test_a_confirmation_for_nobody_is_refused(place: Federation) -> None:
    with pytest.raises(UsageError, match="No site claims to be nobody"):
        operations.confirm(place.coordinator, "nobody", "acid acorn actor album alpha amber")


def test_the_coordinator_holds_no_lock_that_a_killed_command_would_leave(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from fedtui import roster\nfrom fedtui.site import Home\n"
        "with roster._locked(Home(Path(sys.argv[1]))): os.kill(os.getpid(), signal.SIGKILL)"
    )

    subprocess.run([sys.executable, "-c", code, str(place.coordinator.path)], check=False)

    assert code_for(place, name)
    assert processes.running(place.coordinator, "coordinator")
    shutil.rmtree(home_for(place, name).path, ignore_errors=True)


def test_the_coordinator_follows_its_roster_without_an_order_too(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    home = home_for(place, name)
    pending = operations.claim(home, code_for(place, name))

    roster.confirm(place.coordinator, name, pending.words)  # as if the order had been lost
    with Link(pending.member, site=name, key=keys.load_private(home.keys / "node.key")) as link:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(LinkError):
                assert link.post("/fedtui/attach", {})["node_id"]
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_damaged_roster_file_is_named_and_stops_nothing_that_runs(
    place: Federation, names: Iterator[str]
) -> None:
    name = next(names)
    damaged = place.coordinator.roster / "damaged.invitation"
    damaged.write_text("{")
    try:
        with pytest.raises(OperatorError, match="is damaged"):
            operations.sites(place.coordinator)
        time.sleep(1.5)  # the coordinator looks once a second
    finally:
        damaged.unlink()

    assert operations.claim(home_for(place, name), code_for(place, name)).site == name
