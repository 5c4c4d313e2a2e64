"""Studies by command, and documents about them that do not hold."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedtui import agreement, events, keys, operations, persons, site
from fedtui import study as studies
from fedtui.errors import PrivacyError, UsageError
from fedtui.flower.link import Link
from fedtui.register import Register
from fedtui.site import Home
from fedtui.study import Study
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, until
from tests.test_commands import fedtui
from tests.two_hospitals import (
    PASSPHRASE,
    PEOPLE,
    clinical,
    held,
    hospitals,
    known,
    proposed,
    refusal,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with hospitals(tmp_path_factory.mktemp("clinical")) as made:
        yield made


def post(home: Home, data: bytes) -> dict[str, Any]:
    """What the coordinator says to a document that this site sends."""
    membership, own = site.load_membership(home), site.load(home)
    key = keys.load_private(home.keys / "node.key")
    with Link(membership, site=own.name, key=key) as link:
        return link.post("/fedtui/studies", {"document": data.hex()})


def document(home: Home, agreed: Study, **changes: Any) -> bytes:
    """An approval by this site's person, right but for ``changes``."""
    own = site.load(home)
    person = changes.pop("person", PEOPLE[own.name])
    node = changes.pop("node", home)
    signer = persons.load(persons.file_of(home.persons, PEOPLE[own.name]), PASSPHRASE)
    terms: dict[str, Any] = {
        "word": "approve",
        "study": agreed.id,
        "fingerprint": studies.fingerprint(agreed),
        "protocol": studies.PROTOCOL,
        "code": studies.numeric_code(),
        "site": own.name,
        "person": person,
        "key": persons.public_text(signer),
        "serial": 1,
        "time": "2026-11-23T10:00:00Z",
        "nonce": secrets.token_hex(16),
    }
    made = agreement.Decision(**{**terms, **changes})
    return agreement.decide(
        made,
        person=persons.sign(signer, agreement.to_sign(made)),
        key=keys.load_private(node.keys / "node.key"),
    )


def test_the_coordinator_refuses_documents_that_do_not_hold_by_name(pair: Federation) -> None:
    agreed = clinical(id="attacked")
    proposed(pair, agreed)
    other = document(pair.coordinator, agreed)
    cases = {
        f"another site, {COORDINATOR}": other,
        f"{SITE} does not vouch": document(pair.site, agreed, node=pair.coordinator),
        "names Bo Berg": document(pair.site, agreed, person="Eva"),
        "no study with fingerprint": document(pair.site, agreed, fingerprint="0" * 64),
        "on another study": document(pair.site, agreed, study="heart"),
        "still to come": document(pair.site, agreed, time="2099-01-01T00:00:00Z"),
        "cannot be read": b"{}",
    }

    told = {why: post(pair.site, data).get("refused", {}) for why, data in cases.items()}

    for why, refused in told.items():
        assert why.lower() in refused.get("message", "").lower(), (why, refused)
        assert refused["exit_code"] in (2, 5)
    assert known(pair.coordinator, "attacked")["state"] == "proposed"


def test_a_coordinator_that_forges_an_approval_is_not_believed(pair: Federation) -> None:
    agreed = clinical(id="forged")
    proposed(pair, agreed)
    register = Register(pair.site.studies)
    register.add(document(pair.site, agreed))
    forged = document(pair.site, agreed, site=COORDINATOR, person="Anna Ek")
    register.add(forged)

    told = refusal(pair.site, agreed)

    assert f"lacks the approval of {COORDINATOR}; one does not hold" in told
    assert f"{COORDINATOR} does not vouch for the key" in told


def test_words_with_a_personal_number_are_not_sent(pair: Federation) -> None:
    with pytest.raises(PrivacyError, match="looks like a person's number"):
        operations.propose_study(
            pair.site, clinical(id="named", purpose="As patient 19121212-1212 asked.")
        )


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    return file


FLAGS = [
    "--purpose", "By hand.", "--sites", f"{COORDINATOR},{SITE}", "--data", "clinical",
    "--approvers", f"{COORDINATOR}=Anna Ek,{SITE}=Bo Berg", "--model", "logistic", "--rounds", "2",
]  # fmt: skip


def test_a_study_is_written_shown_and_compared_by_command(pair: Federation, tmp_path: Path) -> None:
    first, second, home = tmp_path / "a.toml", tmp_path / "b.toml", pair.site.path
    fedtui("study", "new", str(first), "--id", "written", *FLAGS, home=home)
    second.write_text(first.read_text().replace("rounds = 2", "rounds = 3"))
    again = fedtui("study", "new", str(first), "--id", "written", *FLAGS, home=home, check=2)
    shown = fedtui("study", "show", str(first), home=home)
    differ = json.loads(
        fedtui("study", "diff", str(first), str(second), "--json", home=home).stdout
    )

    written = studies.load(first)
    assert written.schema == held(pair.site).schema_hash
    assert written.quorum.minimum_sites == 2
    assert "exists already" in again.stderr
    assert "bytes)" in shown.stdout
    assert [change["key"] for change in differ["changes"]] == ["rounds"]


def test_a_study_is_proposed_and_approved_by_command(
    pair: Federation, tmp_path: Path, passphrase: Path
) -> None:
    file, home = tmp_path / "study.toml", pair.site.path
    file.write_text(agreement.to_toml(clinical(id="by-hand")))
    sign = ["--passphrase-file", str(passphrase), "--yes-i-have-read"]
    fedtui("study", "propose", str(file), home=home)
    asked = fedtui("study", "approve", "by-hand", home=home, check=2)
    mistyped = fedtui("study", "approve", "by-hand", *sign, "other", home=home, check=2)
    signed = fedtui("study", "approve", "by-hand", *sign, "by-hand", "--json", home=home)
    listed = json.loads(fedtui("study", "list", "--json", home=home).stdout)["studies"]
    known(pair.coordinator, "by-hand")
    early = fedtui("run", "by-hand", home=pair.coordinator.path, check=5)

    done = json.loads(signed.stdout)
    entry = next(e for e in listed if e["id"] == "by-hand")
    assert "--yes-i-have-read" in asked.stderr
    assert "nothing was signed" in mistyped.stderr
    assert (done["word"], done["person"], done["sent"]) == ("approve", "Bo Berg", True)
    assert entry["sites"][SITE]["said"] == "approved"
    assert entry["sites"][COORDINATOR]["said"] == "missing"
    assert f"by-hand lacks the approval of {COORDINATOR}" in early.stderr


def test_a_wrong_passphrase_signs_nothing(pair: Federation, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("tolv blida citroner")
    wrong.chmod(0o600)
    agreed = clinical(id="locked")
    proposed(pair, agreed)

    done = fedtui(
        "study", "decline", "locked", "--reason", "no", "--passphrase-file", str(wrong),
        home=pair.site.path, check=5,
    )  # fmt: skip

    assert "wrong passphrase" in done.stderr
    assert known(pair.site, "locked")["state"] == "proposed"


def test_a_study_that_nobody_knows_is_named(pair: Federation) -> None:
    with pytest.raises(UsageError, match="No study nowhere is known here"):
        operations.study_text(pair.site, "nowhere")


def test_a_decision_made_without_a_link_is_sent_when_it_is_up(pair: Federation) -> None:
    agreed = clinical(id="patient")
    proposed(pair, agreed)
    operations.down(pair.site)
    started = fed.head(pair.site)

    told = operations.decline_study(
        pair.site, "patient", reason="later", person="Bo Berg", passphrase=PASSPHRASE
    )
    alone = refusal(pair.site, agreed)
    pair.up(SITE)
    pair.linked(SITE, after=started)

    assert not told["sent"]
    assert f"{SITE} declined study patient: later" in alone
    until(
        pair.coordinator,
        lambda e: isinstance(e, events.StudyDecided) and (e.study, e.site) == ("patient", SITE),
    )
