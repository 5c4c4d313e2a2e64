"""What is signed about a study holds for that study, site and version, and for nothing else."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedtui import agreement, certificates, keys, persons, settings
from fedtui import study as studies
from fedtui.agreement import Decision
from fedtui.errors import TrustError, UsageError
from fedtui.register import Register
from fedtui.site import Site
from fedtui.study import Quorum
from tests.decisions import (
    NODES,
    NOW,
    PEOPLE,
    PUBLIC,
    TODAY,
    both,
    decision,
    refusal,
    signed,
    standing,
    started,
    study,
)

PASSPHRASE = "tolv sura citroner"


def test_an_approval_holds_for_its_study_and_site() -> None:
    agreed = study()

    found = agreement.check(
        signed(decision(agreed, "halland")),
        study=agreed,
        fingerprint=studies.fingerprint(agreed),
        site="halland",
        node_keys=PUBLIC["halland"],
    )

    assert (found.site, found.person, found.word) == ("halland", "Bo Berg", "approve")


def test_a_replayed_approval_is_refused_by_name() -> None:
    agreed, other, later = study(), study(id="SKIN-02"), study(rounds=4)
    document = signed(decision(agreed, "halland"))

    assert "another study, SKIN-01" in refusal(document, other, "halland")
    assert "another version" in refusal(document, later, "halland")
    assert "another site, halland" in refusal(document, agreed, "vgr")


def test_another_protocol_or_numeric_code_is_named() -> None:
    agreed = study()

    newer = studies.PROTOCOL + 1

    assert f"protocol {newer}" in refusal(
        signed(decision(agreed, "vgr", protocol=newer)), agreed, "vgr"
    )
    assert "numeric code" in refusal(signed(decision(agreed, "vgr", code="0" * 64)), agreed, "vgr")


def test_a_strangers_signature_is_refused_by_name() -> None:
    agreed = study()

    assert "not that of Bo Berg" in refusal(
        signed(decision(agreed, "halland"), by="Anna Ek"), agreed, "halland"
    )


def test_a_key_that_its_site_does_not_vouch_for_is_refused_by_name() -> None:
    agreed = study()

    assert "halland does not vouch" in refusal(
        signed(decision(agreed, "halland"), node="vgr"), agreed, "halland"
    )


def test_somebody_whom_the_study_does_not_name_cannot_approve() -> None:
    agreed = study()

    assert "names Bo Berg for halland" in refusal(
        signed(decision(agreed, "halland", person="Anna Ek")), agreed, "halland"
    )


@pytest.mark.parametrize("field", ["word", "serial", "time", "nonce", "reason", "person"])
def test_no_field_of_a_decision_can_be_changed(field: str) -> None:
    agreed = study()
    document = signed(decision(agreed, "halland", "decline", reason="no"))
    assert isinstance(document.body, Decision)
    other: dict[str, Any] = {
        "word": "approve", "serial": 2, "time": "2026-11-24T10:00:00Z", "nonce": "1" * 32,
        "reason": "yes", "person": "Anna Ek",
    }  # fmt: skip
    changed = dataclasses.replace(document.body, **{field: other[field]})

    assert "signature" in refusal(dataclasses.replace(document, body=changed), agreed, "halland")


def test_a_person_signs_nothing_that_passes_for_another_text() -> None:
    agreed = study()
    made = decision(agreed, "halland")

    assert agreement.to_sign(made).startswith(b"fedtui-decision-1\n")
    assert not keys.head_is_signed(
        PUBLIC["halland"][0], signed(made).node, site="halland", at=1, head="0"
    )


def test_a_run_starts_when_every_site_approved() -> None:
    agreed = study()

    started(agreed, *both(agreed))

    assert agreement.state(agreed, standing(agreed, *both(agreed)), today=TODAY) == "approved"


def test_a_run_without_one_sites_approval_is_refused_by_name() -> None:
    agreed = study()

    with pytest.raises(TrustError, match=r"SKIN-01 lacks the approval of halland\.") as refused:
        started(agreed, both(agreed)[0])

    assert "Bo Berg" in refused.value.remedy


def test_all_sites_that_have_not_approved_are_named_and_so_is_what_comes_first() -> None:
    agreed = study()
    found = standing(agreed)

    with pytest.raises(TrustError, match=r"lacks the approval of vgr, halland\.") as open_:
        agreement.require(agreed, found, today=TODAY, starting=True)
    with pytest.raises(TrustError, match=r"vgr, halland: this version .* not proposed") as unknown:
        agreement.require(agreed, found, today=TODAY, starting=True, proposed=False)

    assert "Bo Berg (halland)" in open_.value.remedy
    assert "First 'fedtui study propose FILE'" in unknown.value.remedy


def test_an_approval_that_does_not_hold_is_none_and_says_why() -> None:
    agreed = study()
    forged = signed(decision(agreed, "halland"), by="Anna Ek")

    with pytest.raises(
        TrustError, match=r"halland; one does not hold, halland's: .* not that of Bo Berg"
    ):
        started(agreed, both(agreed)[0], forged)


def test_a_declined_study_is_refused_with_its_reason() -> None:
    agreed = study()
    no = signed(decision(agreed, "halland", "decline", serial=2, reason="no ethics approval"))

    with pytest.raises(TrustError, match="halland declined study SKIN-01: no ethics approval"):
        started(agreed, *both(agreed), no)

    found = standing(agreed, *both(agreed), no)
    assert agreement.state(agreed, found, today=TODAY) == "declined"


def test_a_withdrawn_approval_is_none_whatever_the_order() -> None:
    agreed = study()
    back = signed(decision(agreed, "halland", "withdraw", serial=2, reason="audit"))

    for documents in ((*both(agreed), back), (back, *both(agreed))):
        with pytest.raises(TrustError, match=r"halland withdrew its approval .*: audit"):
            started(agreed, *documents)


def test_a_site_that_approves_again_takes_part_again() -> None:
    agreed = study()
    back = signed(decision(agreed, "halland", "withdraw", serial=2))
    again = signed(decision(agreed, "halland", serial=3))

    started(agreed, *both(agreed), again, back)


def test_a_site_withdraws_without_anybodys_key_but_approves_never() -> None:
    agreed = study()
    bare = decision(agreed, "halland", "withdraw", person="", key="", serial=2)
    document = agreement.read(agreement.decide(bare, person="", key=NODES["halland"]))
    yes = dataclasses.replace(bare, word="approve", serial=3)
    approval = agreement.read(agreement.decide(yes, person="", key=NODES["halland"]))

    found = standing(agreed, *both(agreed), document, approval)

    assert found["halland"].said == "withdrawn"
    assert "signature" in found["halland"].refused


@pytest.mark.parametrize("word", ["withdraw", "decline"])
def test_a_run_under_way_goes_on_without_a_site_as_the_quorum_says(word: agreement.Word) -> None:
    lenient, strict = (study(quorum=Quorum(minimum_sites=n)) for n in (1, 2))
    no, refused = (
        signed(decision(agreed, "halland", word, serial=2)) for agreed in (lenient, strict)
    )

    started(lenient, *both(lenient), no, starting=False, site="vgr")

    with pytest.raises(TrustError, match="halland withdrew"):
        started(strict, *both(strict), refused, starting=False, site="vgr")
    with pytest.raises(TrustError, match=r"halland (withdrew|declined)"):
        started(lenient, *both(lenient), no, starting=False, site="halland")


def test_an_expired_study_is_refused_by_name() -> None:
    agreed = study(expires="2026-11-22")

    with pytest.raises(TrustError, match="SKIN-01 expired on 2026-11-22"):
        started(agreed, *both(agreed))

    started(study(expires="2026-11-23"), *both(study(expires="2026-11-23")))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"kind": "decision"}', b"x" * 300_000]
)
def test_what_is_no_document_is_a_matter_of_trust(data: bytes) -> None:
    with pytest.raises(TrustError):
        agreement.read(data)


def test_a_decision_of_a_site_that_changed_its_key_still_holds() -> None:
    agreed, old = study(), NODES["halland"]
    new, newest = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    chain = [
        agreement.read(agreement.hand_over(new, newest, site="halland", time=NOW)),
        agreement.read(agreement.hand_over(old, new, site="halland", time=NOW)),
    ]
    thief = ec.generate_private_key(ec.SECP384R1())
    stolen = agreement.read(agreement.hand_over(thief, thief, site="halland", time=NOW))

    for trusted in (old, newest):
        found = agreement.successive({"halland": trusted.public_key()}, [*chain, stolen])

        assert found["halland"] == tuple(k.public_key() for k in (old, new, newest))
        assert agreement.vouched(signed(decision(agreed, "halland")), *found["halland"])


# The directory and the pins.


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    certificates.create_authority(tmp_path, name="vgr")
    return tmp_path


def directory(folder: Path, nodes: dict[str, Any]) -> bytes:
    sites = {n: keys.public_bytes(k.public_key()).decode() for n, k in nodes.items()}
    body = agreement.Directory(coordinator="vgr", sites=sites, time=NOW)
    return agreement.direct(body, key=keys.load_private(folder / "ca.key"))


def test_a_sites_key_is_held_to_what_was_first_seen(authority: Path) -> None:
    register, trusted = Register(authority / "r"), (authority / "ca.pem").read_text()
    register.direct(directory(authority, NODES), authority=trusted)
    other = {**NODES, "halland": ec.generate_private_key(ec.SECP384R1())}

    with pytest.raises(TrustError, match="halland comes with another key"):
        register.direct(directory(authority, other), authority=trusted)

    assert register.keys() == PUBLIC
    assert register.coordinator() == "vgr"


def test_a_list_of_keys_that_the_authority_did_not_sign_is_refused(authority: Path) -> None:
    register, trusted = Register(authority / "r"), (authority / "ca.pem").read_text()
    body = agreement.Directory(coordinator="vgr", sites={}, time=NOW)

    with pytest.raises(TrustError, match="not signed by the federation's authority"):
        register.direct(agreement.direct(body, key=NODES["halland"]), authority=trusted)


def test_a_document_changed_on_disk_decides_nothing(authority: Path) -> None:
    register, agreed = Register(authority / "r"), study()
    register.direct(directory(authority, NODES), authority=(authority / "ca.pem").read_text())
    for site in agreed.sites:
        made = decision(agreed, site)
        signature = persons.sign(PEOPLE[made.person], agreement.to_sign(made))
        last = register.add(agreement.decide(made, person=signature, key=NODES[site]))
    before = register.standings(agreed, studies.fingerprint(agreed))
    file = authority / "r" / f"{last}.json"
    file.write_bytes(file.read_bytes().replace(b'"serial":1', b'"serial":9'))

    after = register.standings(agreed, studies.fingerprint(agreed))

    assert {s.said for s in before.values()} == {"approved"}
    assert after["halland"].said == "missing"


def test_a_study_of_another_fedtui_hides_no_other(authority: Path) -> None:
    register, agreed, foreign = Register(authority / "r"), study(), study(id="FOREIGN")
    register.direct(directory(authority, NODES), authority=(authority / "ca.pem").read_text())
    object.__setattr__(foreign, "metric", "f1")  # which a later one may know
    for one in (agreed, foreign):
        register.add(agreement.propose(one, site="vgr", key=NODES["vgr"], time=NOW))

    assert [entry.study.id for entry in register.entries()] == [agreed.id]


# Persons' keys.


def test_a_persons_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    file = persons.create(tmp_path / "p", "Anna Ek", PASSPHRASE)
    key = persons.load(file, PASSPHRASE)

    with pytest.raises(TrustError, match="wrong passphrase"):
        persons.load(file, PASSPHRASE + "x")

    assert file.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in file.read_bytes()
    assert persons.is_signed(persons.public_text(key), persons.sign(key, b"a"), b"a")
    assert not persons.is_signed(persons.public_text(key), persons.sign(key, b"a"), b"b")


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a\n", "x" * 80])
def test_what_is_no_name_makes_no_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="letters"):
        persons.create(tmp_path, name, PASSPHRASE)


def test_a_short_passphrase_or_a_second_key_is_refused(tmp_path: Path) -> None:
    persons.create(tmp_path, "Bo Berg", PASSPHRASE)

    with pytest.raises(UsageError, match="fewer than 12"):
        persons.create(tmp_path, "Anna Ek", "short")
    with pytest.raises(UsageError, match="has a key already"):
        persons.create(tmp_path, "Bo Berg", PASSPHRASE)


def test_no_site_keeps_its_lists_for_less_than_the_law_asks() -> None:
    with pytest.raises(UsageError, match="retention_years: the law asks for at least 5"):
        settings.parse('name = "vgr"\n[audit]\nretention_years = 4\n', Site, name="site.toml")
