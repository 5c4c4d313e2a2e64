"""Two hospitals with patients' data, and how they agree on a study or refuse one."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datasets
from fedtui import keys, operations, site
from fedtui import study as studies
from fedtui.errors import TrustError
from fedtui.flower.consent import Consent
from fedtui.flower.link import Link
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.study import Study
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation

PEOPLE = {COORDINATOR: "Anna Ek", SITE: "Bo Berg"}
PASSPHRASE = "tolv sura citroner"


def clinical(**changes: Any) -> Study:
    """A study over made-up patients that the sites did not declare public."""
    terms: dict[str, Any] = {
        "id": "heart",
        "purpose": "Tell early who needs care.",
        "legal_basis": "EPM 2026-01234-01",
        "data": "clinical",
        "model": "logistic",
        "normalisation": "federated",
        "approvers": PEOPLE,
        "training": {"learning_rate": 0.1, "batch": 32},
        "validation": studies.Validation(local=False),
    }
    return fed.study(**{**terms, **changes})


def known(home: Home, study: str, *, seconds: float = 60.0) -> dict[str, Any]:
    """The newest version of a study, once this home has heard of it."""
    deadline = time.monotonic() + seconds
    while True:
        found = [e for e in operations.studies(home) if e["id"] == study and e["newest"]]
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"{home.path.name} never heard of {study}"
        time.sleep(0.1)


def proposed(pair: Federation, agreed: Study) -> None:
    operations.propose_study(pair.site, agreed)
    for home in pair.homes.values():
        known(home, agreed.id)


def approve(pair: Federation, agreed: Study, *names: str) -> None:
    for name in names:
        done = operations.approve_study(
            pair.homes[name], agreed.id, person=PEOPLE[name], passphrase=PASSPHRASE
        )
        assert done["sent"]


def check(home: Home, agreed: Study, *, starting: bool = True) -> None:
    """The site's own judgement of a message, whatever its coordinator says."""
    membership, own = site.load_membership(home), site.load(home)
    book = Journal(home.journal, source="test")
    key = keys.load_private(home.keys / "node.key")
    with contextlib.closing(book), Link(membership, site=own.name, key=key) as link:
        consent = Consent(
            home, book, link, name=own.name, authority=membership.authority, words=dict
        )
        consent.check(agreed, studies.fingerprint(agreed), starting=starting)


def refusal(home: Home, agreed: Study, *, starting: bool = True) -> str:
    with pytest.raises(TrustError) as refused:
        check(home, agreed, starting=starting)
    assert refused.value.remedy
    return str(refused.value)


def held(home: Home) -> datasets.Dataset:
    """What this site holds, read by the test itself."""
    source = site.load(home).data["clinical"]
    return datasets.load("clinical", path=source.path, part=source.part)


@contextlib.contextmanager
def hospitals(folder: Path) -> Iterator[Federation]:
    """Both up and warm, each with half of the made-up patients in ``folder`` and a person's key."""
    datasets.synthesise("clinical", folder / "data", rows=400)
    with fed.homes(COORDINATOR, SITE) as made:
        for number, home in enumerate(made.homes.values(), start=1):
            with home.settings.open("a") as file:
                file.write(f'\n[data.clinical]\npath = "{folder / "data"}"\npart = "{number}/2"\n')
        for name, home in made.homes.items():
            operations.create_person(home, PEOPLE[name], PASSPHRASE)
        made.warm(*made.homes)
        yield made
