"""What is signed about a study holds for that study, site and version, and for nothing else."""

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import datasets
from fedtui import agreement, certificates, keys, persons, settings
from fedtui import study as studies
from fedtui.agreement import Decision, Document, Standing
from fedtui.errors import TrustError, UsageError
from fedtui.register import Register
from fedtui.site import Site
from fedtui.study import Quorum, Study, Validation

NOW, TODAY = "2026-11-23T10:00:00Z", date(2026, 11, 23)
NODES = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("vgr", "halland")}
PEOPLE = {name: Ed25519PrivateKey.generate() for name in ("Anna Ek", "Bo Berg")}
PUBLIC = {name: (key.public_key(),) for name, key in NODES.items()}
APPROVERS = {"vgr": "Anna Ek", "halland": "Bo Berg"}
PASSPHRASE = "tolv sura citroner"


def study(**changes: Any) -> Study:
    terms: dict[str, Any] = {
        "id": "SKIN-01",
        "purpose": "Tell melanoma early.",
        "sites": ("vgr", "halland"),
        "data": "heart_disease",
        "model": "logistic",
        "rounds": 3,
        "approvers": APPROVERS,
    }
    return Study(**{**terms, **changes})


def decision(
    agreed: Study, site: str, word: agreement.Word = "approve", **changes: Any
) -> Decision:
    person = changes.pop("person", APPROVERS[site])
    key = persons.public_text(PEOPLE[person]) if person else ""
    terms: dict[str, Any] = {
        "word": word,
        "study": agreed.id,
        "fingerprint": studies.fingerprint(agreed),
        "protocol": studies.PROTOCOL,
        "code": studies.numeric_code(),
        "site": site,
        "person": person,
        "key": key,
        "serial": 1,
        "time": NOW,
        "nonce": "0" * 32,
    }
    return Decision(**{**terms, **changes})


def signed(made: Decision, *, by: str = "", node: str = "") -> Document:
    """The document of ``made``, signed by that person and vouched for by that site."""
    person = PEOPLE[by or made.person]
    signature = persons.sign(person, agreement.to_sign(made))
    return agreement.read(agreement.decide(made, person=signature, key=NODES[node or made.site]))


def refusal(document: Document, agreed: Study, site: str) -> str:
    with pytest.raises(TrustError) as refused:
        agreement.check(
            document,
            study=agreed,
            fingerprint=studies.fingerprint(agreed),
            site=site,
            node_keys=PUBLIC[site],
        )
    assert refused.value.remedy
    return str(refused.value)


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


def standing(agreed: Study, *documents: Document) -> dict[str, Standing]:
    return agreement.standings(agreed, studies.fingerprint(agreed), documents, PUBLIC)


def started(agreed: Study, *documents: Document, **options: Any) -> None:
    found = standing(agreed, *documents)
    agreement.require(agreed, found, today=TODAY, **{"starting": True, **options})


def both(agreed: Study) -> tuple[Document, Document]:
    return signed(decision(agreed, "vgr")), signed(decision(agreed, "halland"))


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


# In words.


def told(agreed: Study, coordinator: str) -> str:
    text = agreement.text(agreement.Paper(study=agreed, today=TODAY, coordinator=coordinator))
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def test_with_two_sites_secure_aggregation_is_said_to_hide_nothing() -> None:
    words = told(study(), "vgr")

    assert "secure aggregation would hide nothing from the other site" in words
    assert "the coordinator, run by vgr, itself a site" in words
    assert "vgr sees what halland sends" in words
    assert "exactly, this site's update: it subtracts its own part" in words


def test_with_three_sites_and_a_coordinator_apart_the_table_is_another() -> None:
    three = ("vgr", "halland", "skane")
    agreed = study(sites=three, approvers={}, quorum=Quorum(minimum_sites=3))
    words = told(agreed, "ai-se")

    assert "the coordinator, ai-se, apart from the sites" in words
    assert "the mean of the other 2 sites' updates; 2 that collude" in words
    assert "would show the coordinator their sum only" in words
    assert "hide nothing" not in words
    assert "below three it would hide nothing" in told(
        dataclasses.replace(agreed, quorum=Quorum(minimum_sites=2)), "ai-se"
    )


def test_whatever_says_an_epsilon_says_what_it_does_not_cover() -> None:
    private = study(privacy={"epsilon": 3.0, "clip": 1.0})
    paper = agreement.Paper(study=private, today=TODAY)

    assert told(private, "vgr").count(agreement.UNCOVERED) >= 2
    assert "a patient with several rows is covered less" in told(private, "vgr")
    assert agreement.to_json(paper)["uncovered"] == agreement.UNCOVERED
    assert "NO record-level privacy" in told(study(), "vgr")
    assert "epsilon" not in told(study(), "vgr").lower()


def test_a_loss_is_said_to_leave_while_training_unless_noise_would_have_to_cover_it() -> None:
    plain, private = (
        next(
            item.what
            for item in agreement.leaving(agreed, features=None, parameters=None)
            if item.when == "each second"
        )
        for agreed in (study(), study(privacy={"epsilon": 3.0}))
    )

    assert "mean loss" in plain
    assert "minimum cell" in plain
    assert "no loss" in private


def test_what_leaves_a_site_is_said_with_its_size() -> None:
    for transport, size in (("float32", 4), ("bfloat16", 2)):
        found = agreement.leaving(study(transport=transport), features=25, parameters=1000)

        assert [item.bytes for item in found if item.when == "once"] == [3 * 8 * 25]
        assert found[1].bytes == 1000 * size


def test_a_sites_own_model_is_said_to_leave_only_where_it_does() -> None:
    def own(**terms: Any) -> list[agreement.Leaving]:
        found = agreement.leaving(study(**terms), features=25, parameters=1000)
        return [item for item in found if item.what.startswith("this site's own model")]

    assert own(exchange=()) == own(exchange=("joint",)) == []
    assert own(exchange=("local",), privacy={"epsilon": 3.0, "clip": 1.0}) == []
    assert own(exchange=("local",), validation=Validation(local=False)) == []
    assert [item.bytes for item in own(exchange=("joint", "local"))] == [4000]


def test_what_models_were_worth_here_is_said_to_leave() -> None:
    alone = agreement.leaving(study(validation=Validation(local=False)), features=3, parameters=9)

    assert alone[-1].what.startswith("the joint model's results on the test patients here")


def test_the_counts_for_medians_are_said_to_leave() -> None:
    found = agreement.leaving(study(imputation="median"), features=25, parameters=None)

    assert found[1].bytes == datasets.BINS * 8 * 25


def test_a_study_for_stock_peers_says_so() -> None:
    words = told(study(interop=True, approvers={}), "")

    assert "stock Flower nodes" in words
    assert "public or synthetic data only" in words


def test_what_differs_between_two_studies_is_found_by_key() -> None:
    before = study(rounds=20)
    after = study(rounds=40, privacy={"epsilon": 8.0}, approvers={})

    found = {c.key: (c.before, c.after) for c in agreement.changes(before, after)}

    assert found == {
        "rounds": (20, 40),
        "privacy.epsilon": (None, 8.0),
        "approvers.vgr": ("Anna Ek", None),
        "approvers.halland": ("Bo Berg", None),
    }
    assert agreement.changes(before, before) == []


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(purpose=WORDS, person=WORDS, parameters=st.dictionaries(WORDS, VALUES, max_size=4))
def test_a_written_study_reads_back_as_the_very_same(
    purpose: str, person: str, parameters: dict[str, Any]
) -> None:
    agreed = study(
        purpose=purpose,
        approvers={"vgr": person, "halland": "Bo"},
        parameters=parameters,
        validation=Validation(subgroups=("sex", "age")),
        exchange=("joint",),
    )

    assert settings.parse(agreement.to_toml(agreed), Study, name="study.toml") == agreed


def test_every_key_of_a_written_study_is_explained() -> None:
    lines = agreement.to_toml(study()).splitlines()
    top = {f.name for f in dataclasses.fields(Study)}

    for number, line in enumerate(lines):
        key = line.strip("[]").partition(" =")[0]
        if key in top and not line.startswith("#") and (line.startswith("[") or "=" in line):
            assert lines[number - 1].startswith("# "), line
    assert top <= {line.strip("[]").partition(" =")[0] for line in lines}


def test_the_paper_is_one_json_document() -> None:
    paper = agreement.Paper(study=study(), today=TODAY, found=standing(study(), *both(study())))

    document = json.loads(json.dumps(agreement.to_json(paper)))

    assert (document["state"], document["version"]) == ("approved", 0)
    assert {d["site"]: d["person"] for d in document["decisions"]} == APPROVERS
