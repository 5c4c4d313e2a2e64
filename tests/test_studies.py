"""Two hospitals agree on a study over data that are not public; without that, none is trained."""

import dataclasses
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedtui import events, journal, operations
from fedtui import study as studies
from fedtui.errors import DataError, TrustError
from fedtui.flower.assignment import read_order
from fedtui.flower.consent import Consent
from fedtui.flower.link import Link
from fedtui.flower.strategy import Terms
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.study import Quorum, Study
from tests import federation as fed
from tests.federation import COORDINATOR, SITE, Federation, records, until
from tests.test_commands import fedtui
from tests.two_hospitals import (
    PASSPHRASE,
    PEOPLE,
    approve,
    check,
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


@pytest.fixture(scope="module")
def trained(pair: Federation) -> tuple[Study, str]:
    """A study that both sites approved, and its completed run."""
    agreed = clinical()
    proposed(pair, agreed)
    approve(pair, agreed, SITE, COORDINATOR)
    ended = pair.run(agreed)
    assert ended.outcome == "completed", ended.cause
    return agreed, ended.run


def test_a_study_that_both_sites_approved_is_trained(
    pair: Federation, trained: tuple[Study, str]
) -> None:
    agreed, _ = trained

    for home in pair.homes.values():
        entry = known(home, agreed.id)
        assert entry["state"] == "approved"
        assert {n: s["person"] for n, s in entry["sites"].items()} == PEOPLE
        text = operations.study_text(home, agreed.id)
        assert f"the coordinator, run by {COORDINATOR}, itself a site" in " ".join(text.split())
    until(pair.site, lambda e: isinstance(e, events.StudyDecided) and e.site == COORDINATOR)


def test_who_approved_is_journaled_with_the_account_and_stays_here(
    pair: Federation, trained: tuple[Study, str]
) -> None:
    ((_, signed),) = records(pair.site, events.DecisionSigned)[:1]

    assert (signed.person, signed.user, signed.uid) == ("Bo Berg", *operations.account()[::-1])
    assert signed.legal_basis == "EPM 2026-01234-01"
    assert signed.patients == len(everybody(pair.site))
    foreign = [e for r, e in _all(pair.coordinator) if r.origin or r.source == "coordinator"]
    assert not [e for e in foreign if isinstance(e, events.DecisionSigned | events.AccessLogged)]


def test_access_to_patients_data_is_logged_with_a_list_that_stays_here(
    pair: Federation, trained: tuple[Study, str]
) -> None:
    agreed, run = trained
    (_, logged), *_ = records(pair.site, events.AccessLogged, run=run)

    assert (logged.person, logged.unit, logged.purpose) == ("Bo Berg", SITE, agreed.purpose)
    assert logged.patients == len(everybody(pair.site))
    file = pair.site.audit / f"{logged.cohort}.json"
    assert set(json.loads(file.read_text())["patients"]) == everybody(pair.site)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert logged.cohort != held(pair.site).cohort_hash
    shown = json.loads(fedtui("audit", "access", "--json", home=pair.site.path).stdout)
    assert (run, "training") in [(entry["run"], entry["action"]) for entry in shown["accesses"]]


def test_lists_of_patients_are_kept_as_long_as_the_site_says(
    pair: Federation, trained: tuple[Study, str]
) -> None:
    year = 365.25 * 86400

    early = operations.prune_accesses(pair.coordinator, now=time.time() + 4.9 * year)
    late = operations.prune_accesses(pair.coordinator, now=time.time() + 5.1 * year)

    assert early == []
    assert len(late) == 1
    assert operations.accesses(pair.coordinator, trained[1])[0]["list"] == "gone"


def everybody(home: Home) -> set[int]:
    data = held(home)
    return {int(g) for split in (data.train, data.validation, data.test) for g in split.groups}


def _all(home: Home) -> list[Any]:
    book = Journal(home.journal, source="test")
    try:
        return [(r, r.event) for r in book.read()]
    finally:
        book.close()


def test_without_every_approval_neither_a_run_starts_nor_a_site_answers(pair: Federation) -> None:
    agreed = clinical(id="lonely")
    proposed(pair, agreed)
    approve(pair, agreed, COORDINATOR)

    with pytest.raises(TrustError, match=f"lonely lacks the approval of {SITE}"):
        pair.start(agreed)

    for home in pair.homes.values():
        assert f"lacks the approval of {SITE}" in refusal(home, agreed)


def test_an_approval_that_another_thread_took_over_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, agreed = Home(tmp_path), clinical()
    home.settings.write_text('name = "vgr"\n[data.clinical]\npath = "/data"\n')
    folder = Path(home.studies)
    folder.mkdir(parents=True)
    journal.create(home.journal)
    book = Journal(home.journal, source="test")
    link = cast("Link", SimpleNamespace())
    consent = Consent(home, book, link, name="vgr", authority="", words=dict)
    asked: list[bool] = []

    def require(*_: Any) -> None:
        asked.append(True)
        if len(asked) == 1:  # judged without the document, which comes before this is known
            (folder / "document").write_bytes(b"an approval")
            raise TrustError("Study heart lacks an approval.", remedy="Ask for it.")

    def nothing_more() -> dict[str, Any]:
        return {"sent": 0, "taken": 0}

    monkeypatch.setattr(consent, "_require", require)
    monkeypatch.setattr(consent, "synchronise", nothing_more)

    consent.check(agreed, studies.fingerprint(agreed), starting=True)

    book.close()
    assert len(asked) == 2


def test_an_approval_is_of_one_version_only(pair: Federation, trained: tuple[Study, str]) -> None:
    changed = dataclasses.replace(trained[0], rounds=3)

    with pytest.raises(TrustError, match=r"lacks the approval .* was not proposed") as refused:
        pair.start(changed)
    assert "study propose" in refused.value.remedy

    assert "lacks the approval" in refusal(pair.site, changed)
    check(pair.site, trained[0])


def test_an_expired_study_is_refused_everywhere(pair: Federation) -> None:
    agreed = clinical(id="late", expires="2026-01-31")
    proposed(pair, agreed)

    with pytest.raises(TrustError, match="late expired on 2026-01-31"):
        approve(pair, agreed, SITE)
    with pytest.raises(TrustError, match="late expired"):
        pair.start(agreed)
    assert "late expired" in refusal(pair.site, agreed)
    assert known(pair.site, "late")["state"] == "expired"


def test_a_declined_study_is_refused_with_its_reason(pair: Federation) -> None:
    agreed = clinical(id="doubtful")
    proposed(pair, agreed)

    operations.decline_study(
        pair.site, "doubtful", reason="no ethics approval yet", person="Bo Berg",
        passphrase=PASSPHRASE,
    )  # fmt: skip

    declined = "declined study doubtful: no ethics approval yet"
    with pytest.raises(TrustError, match=declined):
        pair.start(agreed)
    for home in pair.homes.values():
        assert declined in refusal(home, agreed)
        assert known(home, "doubtful")["state"] == "declined"


def test_a_withdrawal_ends_a_run_that_needs_the_site(pair: Federation) -> None:
    agreed = clinical(id="long", rounds=400, quorum=Quorum(minimum_sites=2))
    proposed(pair, agreed)
    approve(pair, agreed, COORDINATOR, SITE)
    run = pair.start(agreed)
    until(pair.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)

    operations.withdraw_study(pair.site, "long", reason="a patient complained")

    withdrew = f"{SITE} withdrew its approval of study long: a patient complained"
    assert withdrew in refusal(pair.site, agreed, starting=False)
    ended = pair.ended(run)
    assert (ended.outcome, ended.code) == ("failed", 9)
    told = {(e.site, e.code) for _, e in records(pair.coordinator, events.AnswerRefused, run=run)}
    assert told & {(SITE, "withdrawn"), (SITE, "failed")}
    with pytest.raises(TrustError, match=withdrew):
        pair.start(agreed)
    deadline = time.monotonic() + 60
    while known(pair.coordinator, "long")["state"] != "withdrawn":
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_goes_on_without_a_site_that_withdrew_if_the_quorum_allows(pair: Federation) -> None:
    agreed = clinical(id="lenient", rounds=60, quorum=Quorum(minimum_sites=1))
    proposed(pair, agreed)
    approve(pair, agreed, COORDINATOR, SITE)
    run = pair.start(agreed)
    until(pair.coordinator, lambda e: isinstance(e, events.RoundEnded) and e.run == run)

    operations.withdraw_study(pair.site, "lenient", reason="a patient complained")

    ended = pair.ended(run)
    assert ended.outcome == "completed", ended.cause
    rounds = [e for _, e in records(pair.coordinator, events.RoundEnded, run=run)]
    assert set(rounds[0].by_site) == {COORDINATOR, SITE}
    assert set(rounds[-1].by_site) == {COORDINATOR}
    told = {(e.site, e.code) for _, e in records(pair.coordinator, events.AnswerRefused, run=run)}
    assert (SITE, "withdrawn") in told


def test_data_that_do_not_fit_are_not_approved(pair: Federation) -> None:
    agreed = clinical(id="strange", schema="0" * 64)
    proposed(pair, agreed)
    before = len(records(pair.site, events.DecisionSigned))

    with pytest.raises(DataError, match="have schema"):
        approve(pair, agreed, SITE)

    assert len(records(pair.site, events.DecisionSigned)) == before
    assert known(pair.site, "strange")["state"] == "proposed"


def test_data_with_another_schema_than_agreed_are_not_trained_on(pair: Federation) -> None:
    ended = pair.run(fed.study(schema="0" * 64))

    assert (ended.outcome, ended.code) == ("failed", 6)  # as all sites say, and no quorum's
    assert "every site refuses. The data of" in ended.cause
    causes = [e.cause for _, e in records(pair.site, events.WorkFailed, run=ended.run)]
    assert causes
    assert all("have schema" in cause for cause in causes)


def test_a_message_of_another_protocol_code_or_study_is_refused_by_name() -> None:
    agreed = clinical()
    config = Terms(run="r", study=agreed, train_sites=(SITE,)).config(0, "prepare")
    changed = studies.canonical(dataclasses.replace(agreed, rounds=9)).decode()
    cases: list[tuple[str, str | int, str]] = [
        ("protocol", studies.PROTOCOL + 1, "The coordinator has protocol"),
        ("code", "0" * 64, "The coordinator has numeric code 000000000000"),
        ("fingerprint", "0" * 64, "has fingerprint"),
        ("study", changed, "has fingerprint"),
    ]

    for key, value, words in cases:
        record = ConfigRecord({**dict(config), key: value})
        # Flower's Message can be made within a Flower run only; the content is all that is read.
        message = SimpleNamespace(content=RecordDict({"config": record}))
        with pytest.raises(TrustError, match=words):
            read_order(cast("Message", message), site=SITE)


def test_approvals_hold_after_a_site_changed_its_key(
    pair: Federation, trained: tuple[Study, str]
) -> None:
    operations.rotate(pair.site)
    operations.send_decisions(pair.site)
    operations.send_decisions(pair.coordinator)

    for home in pair.homes.values():
        check(home, trained[0])
        assert known(home, "heart")["state"] == "approved"


def test_without_approvers_only_public_data_are_used(pair: Federation) -> None:
    agreed = clinical(id="open", approvers={})

    assert "names no approvers, and clinical here is not public" in refusal(pair.site, agreed)
    check(pair.site, fed.study())


def test_stock_peers_are_kept_from_data_that_are_not_public(pair: Federation) -> None:
    agreed = clinical(id="open", interop=True, normalisation="none")

    assert "open to stock Flower peers" in refusal(pair.site, agreed)
