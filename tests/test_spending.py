"""Record-level privacy over several runs: added up, shown, warned of without a limit."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fedtui import agreement, events, journal
from fedtui.agreement import Paper
from fedtui.errors import PrivacyError
from fedtui.flower.ledger import Ledger
from fedtui.flower.work import Key
from fedtui.journal import Journal
from fedtui.progress import fold
from fedtui.report import papers
from fedtui.report.facts import gather
from fedtui.spending import spending
from fedtui.study import Study
from tests import federation as fed


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    journal.create(tmp_path / "journal.db")
    book = Journal(tmp_path / "journal.db", source="agent")
    yield book
    book.close()


def private(**more: Any) -> Study:
    return fed.study(privacy={"epsilon": 3.0}, rounds=2, **more)


def spend(
    book: Journal, run: str, *, limit: float | None = None, study: Study | None = None
) -> None:
    """Both rounds of a private run, as the trainer would be asked for them."""
    ledger, study = Ledger(book, limit=limit), study or private()
    for round, epsilon in ((1, 1.8), (2, 2.9)):
        key, question = Key(run, round, "train"), f"{run} {round}"
        ledger.admit(key, study, question, place="", wanted=3.0)
        ledger.admit(
            key, study, question, place="", wanted=3.0
        )  # asked again, as after a lost answer
        ledger.spend(
            key, study, question, place="", epsilon=epsilon, delta=1e-5, tight=None, counted=90
        )


def warned(book: Journal) -> list[events.Event]:
    return [record.event for record in book.own(("PrivacyUnlimited",))]


def test_a_second_private_run_without_a_limit_is_warned_of_once(book: Journal) -> None:
    spend(book, "first")
    before = warned(book)
    spend(book, "second")

    (alarm,) = warned(book)

    assert before == []
    assert isinstance(alarm, events.PrivacyUnlimited)
    assert (alarm.run, alarm.runs, alarm.epsilon, alarm.wanted) == ("second", 1, 2.9, 3.0)
    assert "limits.epsilon" in alarm.sentence
    assert [record.event for record in fold(book.read()).alarms] == [alarm]


def test_other_data_or_a_limit_are_not_warned_of(book: Journal) -> None:
    spend(book, "first")
    spend(book, "other", study=private(data="breast_cancer"))
    spend(book, "second", limit=10.0)

    assert warned(book) == []


def test_a_limit_counts_all_runs_on_the_data(book: Journal) -> None:
    spend(book, "first", limit=5.0)

    with pytest.raises(PrivacyError, match=r"Epsilon 2\.9 of this site's 5 is spent"):
        spend(book, "second", limit=5.0)


def test_a_limit_counts_other_data_sets_of_the_same_folder(book: Journal) -> None:
    ledger = Ledger(book, limit=5.0)
    key, study = Key("first", 1, "train"), private()
    ledger.spend(key, study, "q", place="folder", epsilon=2.9, delta=1e-5, tight=None, counted=90)
    other, key = private(data="breast_cancer"), Key("second", 1, "train")

    assert ledger.admit(key, other, "r", place="elsewhere", wanted=3.0) == 0
    with pytest.raises(PrivacyError, match=r"Epsilon 2\.9 of this site's 5 is spent"):
        ledger.admit(key, other, "r", place="folder", wanted=3.0)


@pytest.mark.parametrize(
    ("limit", "bound"), [(None, "no limit set (limits.epsilon in site.toml)"), (8.0, "limit 8")]
)
def test_a_report_shows_the_run_and_the_sum_of_all(
    book: Journal, limit: float | None, bound: str
) -> None:
    study = private()
    for run in ("first", "second"):
        book.append(
            events.RunSubmitted(
                run=run, study=study.id, fingerprint="ab" * 32, sites=study.sites,
                train_sites=study.sites, rounds=2, metric="accuracy",
            )
        )  # fmt: skip
        spend(book, run)

    facts = gather(
        book.read(), "second", site="halland", study=study, minimum_cell=10, versions={},
        epsilon=limit,
    )  # fmt: skip

    assert facts is not None
    told = dict(papers.privacy_spent(facts))
    assert told["privacy spent here"] == "epsilon 2.9 (RDP) at delta 1e-05"
    assert told["on these data by all runs"] == f"epsilon 5.8 over 2 runs on 'digits'; {bound}"


def test_who_is_asked_to_sign_sees_what_is_spent_already(book: Journal) -> None:
    spend(book, "first")
    so_far = spending((record.event for record in book.own(("PrivacySpent",))), "digits").words
    paper = Paper(study=private(), today=date(2026, 11, 25), spent=so_far)

    words = " ".join(agreement.text(paper).split())

    assert "spent so far epsilon 2.9 over 1 run on 'digits'; no limit set" in words
    assert agreement.to_json(paper)["spent"] == so_far
