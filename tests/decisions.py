"""Decisions about a study, signed as the sites of the tests sign them."""

from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedtui import agreement, persons
from fedtui import study as studies
from fedtui.agreement import Decision, Document, Standing
from fedtui.errors import TrustError
from fedtui.study import Study

NOW, TODAY = "2026-11-23T10:00:00Z", date(2026, 11, 23)
NODES = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("vgr", "halland")}
PEOPLE = {name: Ed25519PrivateKey.generate() for name in ("Anna Ek", "Bo Berg")}
PUBLIC = {name: (key.public_key(),) for name, key in NODES.items()}
APPROVERS = {"vgr": "Anna Ek", "halland": "Bo Berg"}


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


def standing(agreed: Study, *documents: Document) -> dict[str, Standing]:
    return agreement.standings(agreed, studies.fingerprint(agreed), documents, PUBLIC)


def started(agreed: Study, *documents: Document, **options: Any) -> None:
    found = standing(agreed, *documents)
    agreement.require(agreed, found, today=TODAY, **{"starting": True, **options})


def both(agreed: Study) -> tuple[Document, Document]:
    return signed(decision(agreed, "vgr")), signed(decision(agreed, "halland"))
