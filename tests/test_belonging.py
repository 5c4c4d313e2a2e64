"""A site's key changed, the site suspended, taken back and revoked, while a federation runs."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui import events, keys, operations, processes, roster, site
from fedtui.errors import NetworkError, TrustError, UsageError
from fedtui.flower.health import Health
from fedtui.flower.link import Link, RevokedError
from fedtui.site import Home, Membership
from fedtui.study import Quorum
from fedtui.transport import LinkError
from tests import federation as fed
from tests import lab_servers as servers
from tests.conftest import STRANGE
from tests.federation import COORDINATOR, SITE, Federation, records, until
from tests.lab_authority import of_federation
from tests.lab_servers import context_of, listening, tls

STUDY = fed.study(rounds=100_000)


def fingerprint(home: Home) -> str:
    return keys.fingerprint(keys.load_private(home.keys / "node.key").public_key())


def round_of(made: Federation, run: str, *, with_site: bool, after: int = 0) -> events.RoundEnded:
    """A round of ``run`` that ended after record ``after``, with or without the second site."""
    record = until(
        made.coordinator,
        lambda e: (
            isinstance(e, events.RoundEnded) and e.run == run and (SITE in e.by_site) == with_site
        ),
        after=after,
    )
    assert isinstance(record.event, events.RoundEnded)
    return record.event


def test_a_key_is_changed_in_the_middle_of_a_run_and_both_ends_journal_it(
    trio: Federation,
) -> None:
    home, old = trio.homes[SITE], fingerprint(trio.homes[SITE])
    run = trio.start(STUDY)
    round_of(trio, run, with_site=True)
    here, there = fed.head(trio.coordinator), fed.head(home)

    told = operations.rotate(home)
    round_of(trio, run, with_site=True, after=fed.head(trio.coordinator))
    listed = {e["site"]: e["key"] for e in operations.sites(trio.coordinator)}

    assert told == {"key": fingerprint(home), "old": old}
    assert told["key"] != old
    assert listed[SITE] == told["key"]
    assert (home.keys / "node.pub").read_bytes() in roster_bytes(trio)
    for where, after in ((home, there), (trio.coordinator, here)):
        (changed,) = (e for _, e in records(where, events.KeyRotated, after=after))
        assert (changed.site, changed.key, changed.old) == (SITE, told["key"], old)
    assert not records(trio.coordinator, events.AnswerRefused, run=run)
    assert not (home.keys / "node.key.new").exists()


def roster_bytes(made: Federation) -> list[bytes]:
    return [path.read_bytes() for path in made.coordinator.roster.glob("*.pub")]


@pytest.mark.slow
def test_a_change_of_key_is_finished_after_a_kill_on_either_side_of_the_coordinators_yes(
    trio: Federation,
) -> None:
    home = trio.homes[SITE]
    member = site.load_membership(home)
    for said_yes in (False, True):
        operations.down(home)
        new = keys.draw_node_key(home.keys)
        old = keys.load_private(home.keys / "node.key")
        if said_yes:
            proof = keys.sign_succession(new, site=SITE, old=old.public_key())
            pem = keys.public_bytes(new.public_key()).decode()
            with Link(member, site=SITE, key=old) as link:
                link.post("/fedtui/rotate", {"key": pem, "proof": proof})
        after = fed.head(home)

        trio.up(SITE)
        until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)

        assert fingerprint(home) == keys.fingerprint(new.public_key())
        listed = {e["site"]: e["key"] for e in operations.sites(trio.coordinator)}
        assert listed[SITE] == fingerprint(home)


def test_a_key_that_the_old_one_did_not_sign_for_is_refused(trio: Federation) -> None:
    home = trio.homes[SITE]
    member, before = site.load_membership(home), roster_bytes(trio)
    mine = keys.load_private(home.keys / "node.key")
    other = ec.generate_private_key(ec.SECP384R1())
    pem = keys.public_bytes(other.public_key()).decode()
    proof = keys.sign_succession(other, site=SITE, old=mine.public_key())
    wrong: list[dict[str, Any]] = [
        {"key": pem, "proof": keys.sign_succession(mine, site=SITE, old=mine.public_key())},
        {"key": pem, "proof": keys.sign_succession(other, site="malmo", old=mine.public_key())},
        {"key": pem, "proof": ""},
        {"key": pem},
        {"key": "", "proof": proof},
        {"key": 7, "proof": proof},
    ]

    for body in wrong:
        with Link(member, site=SITE, key=mine) as link, pytest.raises(LinkError) as refused:
            link.post("/fedtui/rotate", body)
        assert refused.value.code == "status-400"
    with Link(member, site=SITE, key=other) as link, pytest.raises(LinkError) as stranger:
        link.post("/fedtui/rotate", {"key": pem, "proof": proof})

    assert stranger.value.code == "forged"
    assert roster_bytes(trio) == before


def test_a_suspended_site_is_left_out_and_comes_back_by_itself(trio: Federation) -> None:
    home = trio.homes[SITE]
    run = trio.start(fed.study(rounds=100_000, quorum=Quorum(minimum_sites=1)))
    round_of(trio, run, with_site=True)
    there = fed.head(home)

    operations.suspend(trio.coordinator, SITE)
    told = until(home, lambda e: isinstance(e, events.LinkChanged) and e.code == "suspended",
                 after=there)  # fmt: skip
    round_of(trio, run, with_site=False, after=fed.head(trio.coordinator))
    states = {e["site"]: e["state"] for e in operations.sites(trio.coordinator)}
    with pytest.raises(UsageError, match="is suspended"):
        operations.suspend(trio.coordinator, SITE)
    operations.suspend(trio.coordinator, SITE, suspended=False)
    until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=told.seq)
    round_of(trio, run, with_site=True, after=fed.head(trio.coordinator))

    assert states[SITE] == "suspended"
    assert processes.running(home, "agent")
    assert {e["site"]: e["state"] for e in operations.sites(trio.coordinator)}[SITE] == "enrolled"


def test_the_coordinator_does_not_revoke_its_own_site(trio: Federation) -> None:
    for order in (operations.revoke, operations.suspend):
        with pytest.raises(UsageError, match="the coordinator's own site"):
            order(trio.coordinator, COORDINATOR)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two homes on disk that know each other; nothing runs."""
    folder = tmp_path_factory.mktemp("p")
    dmz, halland = Home(folder / "dmz"), Home(folder / "halland")
    operations.create(dmz, "dmz", coordinator=True, data=False)
    operations.create(halland, "halland")
    invitation = folder / "i"
    invitation.write_text(
        operations.invite(dmz, "halland", public_key=halland.keys / "node.pub", address="a:1")
    )
    operations.join(halland, invitation)
    return dmz, halland


def statement(dmz: Home, halland: Home, **changes: Any) -> dict[str, Any]:
    """What the coordinator signs of halland, then ``changes`` to it."""
    authority = keys.load_private(dmz.keys / "ca.key")
    public = keys.load_public((halland.keys / "node.pub").read_bytes(), name="halland")
    terms: dict[str, Any] = {"what": "revoked", "site": "halland", "public": public}
    signed = {k: changes.pop(f"signed_{k}") for k in list(terms) if f"signed_{k}" in changes}
    authority = changes.pop("authority", authority)
    return {**keys.sign_statement(authority, **{**terms, **signed}), **changes}


def answered(dmz: Home, halland: Home, folder: Path, body: dict[str, Any]) -> Exception:
    """What a site makes of a coordinator that refuses it with ``body``."""
    files = of_federation(folder, dmz.keys).issue("127.0.0.1")
    refuse = servers.answer(json.dumps(body).encode(), status="403 Forbidden")
    with listening(tls(context_of(files), lambda *_: refuse)) as port:
        authority = (dmz.keys / "ca.pem").read_text()
        member = Membership(address=f"127.0.0.1:{port}", authority=authority)
        key = keys.load_private(halland.keys / "node.key")
        with Link(member, site="halland", key=key) as link:
            with pytest.raises((LinkError, TrustError)) as refused:
                link.post("/fedtui/report", {})
            return refused.value


def test_a_revocation_under_the_federations_signature_is_believed(
    pair: tuple[Home, Home], tmp_path: Path
) -> None:
    said = answered(*pair, tmp_path, {"error": "revoked", "statement": statement(*pair)})

    assert isinstance(said, RevokedError)
    assert "took this site off its roster" in str(said)
    assert said.remedy


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {},
        {"signature": ""},
        {"signature": "AAAA"},
        {"signature": 7},
        {"site": "skane"},
        {"signed_site": "skane"},
        {"signed_what": "suspended"},
        {"what": "revoked", "signed_what": "suspended"},
        {"time": 0.0},
        {"time": "x" * 10_000},
        {"key": "0000"},
        {"authority": ec.generate_private_key(ec.SECP384R1())},
        {"signed_public": ec.generate_private_key(ec.SECP384R1()).public_key()},
    ],
)
def test_a_revocation_that_is_not_rightly_signed_is_trouble_that_may_pass(
    pair: tuple[Home, Home], tmp_path: Path, changes: dict[str, Any] | None
) -> None:
    body: dict[str, Any] = {"error": "revoked"}
    if changes is not None:
        body["statement"] = statement(*pair, **changes) if changes else {"what": "revoked"}

    said = answered(*pair, tmp_path, body)

    assert isinstance(said, LinkError)
    assert said.code == "revoked"


@pytest.mark.parametrize("body", [{"error": "\x1b[2J"}, {"error": ["a"]}, {"message": "no"}, {}])
def test_a_403_that_is_not_the_coordinators_is_only_a_status(
    pair: tuple[Home, Home], tmp_path: Path, body: dict[str, Any]
) -> None:
    said = answered(*pair, tmp_path, body)

    assert isinstance(said, LinkError)
    assert (said.code, said.passing) == ("status-403", True)


def test_a_roster_killed_between_two_files_stands_on_the_safe_side(
    pair: tuple[Home, Home],
) -> None:
    dmz, halland = pair
    key = (halland.keys / "node.pub").read_bytes()
    for kept, standing in (("suspended", "suspended"), ("revoked", "revoked")):
        (dmz.roster / f"halland.{kept}").write_bytes(key)

        assert roster._standing(dmz, "halland")[0] == standing

    roster.enrol(dmz, "halland", key)
    assert [e.standing for e in roster.entries(dmz)] == ["enrolled"]


def test_without_an_agent_a_key_cannot_be_changed(pair: tuple[Home, Home]) -> None:
    with pytest.raises((UsageError, NetworkError)) as refused:
        operations.rotate(pair[1])

    assert "fedtui up" in refused.value.remedy


@pytest.fixture
def malmo(trio: Federation) -> Iterator[Home]:
    """The third site with its agent up; on the roster again afterwards, and down."""
    home = trio.homes[STRANGE]
    after = fed.head(home)
    trio.up(STRANGE)
    until(home, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)
    yield home
    operations.down(home)
    operations.invite(trio.coordinator, STRANGE, public_key=home.keys / "node.pub")
    home.ended.unlink(missing_ok=True)


def test_a_revoked_site_ends_says_why_and_can_come_back_by_a_new_invitation(
    trio: Federation, malmo: Home
) -> None:
    began = time.monotonic()
    operations.revoke(trio.coordinator, STRANGE)
    ended = until(malmo, lambda e: isinstance(e, events.MembershipEnded))
    took = time.monotonic() - began
    until(malmo, lambda e: isinstance(e, events.ProcessEnded) and e.process == "supervisor",
          after=ended.seq)  # fmt: skip
    status, health = operations.status(malmo), operations.health(malmo)
    with pytest.raises(TrustError, match="membership has ended") as refused:
        trio.up(STRANGE)
    address = f"127.0.0.1:{trio.port}"
    pending = operations.claim(
        malmo, operations.issue(trio.coordinator, STRANGE, address=address).code
    )
    operations.confirm(trio.coordinator, STRANGE, pending.words)
    after = fed.head(malmo)
    trio.up(STRANGE)
    until(malmo, lambda e: isinstance(e, events.LinkChanged) and e.up, after=after)

    assert took < 30  # a heartbeat is 10 s; it was 1 s on an idle machine
    assert (status["link"], status["processes"]) == ("ended", {})
    assert "off its roster" in status["link_cause"]
    assert isinstance(health, TrustError)
    assert refused.value.remedy


def told_by(health: Health, told: list[events.Event]) -> list[tuple[bool, str]]:
    return [(e.up, e.code) for e in told if isinstance(e, events.LinkChanged)]


def test_what_sticks_in_the_work_does_not_flicker_with_every_welcome() -> None:
    told: list[events.Event] = []
    health = Health(told.append)
    limit = LinkError("body-limit", "too large", passing=False)

    health.attached()
    for _ in range(3):
        pause = health.failed(limit)
        health.reported(None)
        health.attached()
    health.worked()

    assert told_by(health, told) == [(True, ""), (False, "body-limit"), (True, "")]
    assert pause > 5


def test_trouble_that_passes_is_over_with_the_next_welcome() -> None:
    told: list[events.Event] = []
    health = Health(told.append)

    health.reported(None)
    first = health.failed(LinkError("refused", "nothing listens"))
    health.attached()
    health.reported(LinkError("closed", "closed"))
    health.reported(None)

    codes = [(False, "refused"), (True, ""), (False, "closed"), (True, "")]
    assert told_by(health, told) == codes
    assert first <= 0.2


def test_flowers_refusals_after_a_welcome_are_put_down_to_a_clock_that_is_off() -> None:
    told: list[events.Event] = []
    health = Health(told.append)
    health.ahead = 12.0
    unauthorised = LinkError("unauthorised", "401")

    for _ in range(3):
        health.failed(unauthorised)

    assert told_by(health, told) == [(False, "unauthorised"), (False, "clock")]
    assert "12 s ahead" in told[-1].sentence


def test_an_answer_that_nobody_waits_for_is_no_trouble_of_the_link_unless_it_repeats() -> None:
    told: list[events.Event] = []
    health = Health(told.append)
    gone = LinkError("gone", "no longer waited for")

    health.attached()
    for _ in range(3):
        assert health.failed(gone) < 1
        health.worked()
    once = told_by(health, told)
    for _ in range(3):
        health.failed(gone)

    assert once == [(True, "")]
    assert told_by(health, told)[1:] == [(False, "gone")]


def test_a_report_that_gets_through_again_wakes_the_link_thread() -> None:
    health = Health(lambda _: None)
    health.reported(LinkError("certificate", "another", passing=False))
    pause = health.failed(LinkError("certificate", "another", passing=False))
    assert health.slow
    assert pause > 5

    with contextlib.suppress(TimeoutError):
        health.reported(None)
    began = time.monotonic()
    health.wait(pause)

    assert time.monotonic() - began < pause / 2
