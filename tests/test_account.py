"""Record-level privacy's account at a site: which answers share noise, and what each one costs."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtui import disclosure, events, journal
from fedtui import study as studies
from fedtui.errors import DataError, PrivacyError
from fedtui.flower.cohorts import Cohorts
from fedtui.flower.ledger import Ledger
from fedtui.flower.trainer import Trainer
from fedtui.flower.work import Key
from fedtui.journal import Journal
from models import _device, _engine
from tests import federation as fed
from tests.test_datasets_clinical import folder, rows, text

CLIP = 0.5
SECRET = b"s" * 32
TERMS = {
    "data": "clinical",
    "model": "logistic",
    "training": {"learning_rate": 1.0, "batch": 1000},  # one step over everybody
    "privacy": {"noise": 2.0, "clip": CLIP},
}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_engine, "use_cache", lambda _: None)  # this process is also other tests'
        return Trainer("halland", tmp_path_factory.mktemp("cache"), secret=SECRET)


def order(path: Path, *, out: str = "", **changes: Any) -> dict[str, Any]:
    """A round's, for made-up patients in ``path``; with ``out`` that patient opted out."""
    if not (path / "patients.csv").exists():
        folder(path, text(rows(120, 1)))
    (path / "out.txt").write_text(out)
    cohorts = path / "cohorts"
    cohorts.mkdir(exist_ok=True)
    np.zeros(7, np.float32).tofile(path / "in")
    agreed = fed.study(**{**TERMS, **changes.pop("terms", {})})
    return {
        "study": studies.canonical(agreed).decode(),
        "source": {"path": str(path), "part": "all", "excluded": str(path / "out.txt")},
        "round": 1,
        "normalisation": None,
        "input": str(path / "in"),
        "output": str(path / "out"),
        "local": None,
        "cohorts": str(cohorts),
        "question": "a model and terms",
        "answered": 0,
        "counted": None,
        **changes,
    }


def answer(trainer: Trainer, asked: dict[str, Any]) -> np.ndarray:
    trainer.train(asked, io.StringIO())
    return np.fromfile(asked["output"], dtype="<f4")


def named(trainer: Trainer, asked: dict[str, Any]) -> str:
    return str(trainer.promise(asked)["question"])


def test_without_one_patient_the_noise_is_another_and_a_difference_tells_nothing_of_them(
    tmp_path: Path, trainer: Trainer
) -> None:
    def examples(out: str = "") -> int:
        return len(
            trainer.cohorts.load(fed.study(**TERMS), order(tmp_path, out=out)["source"]).train
        )

    many = examples()
    out = next(f"P{n}" for n in range(120) if examples(f"P{n}") < many)

    whole = answer(trainer, order(tmp_path))
    again = answer(trainer, order(tmp_path))
    less = answer(trainer, order(tmp_path, out=out))

    np.testing.assert_array_equal(again, whole)
    divisor = trainer._engine[1].plan.batch
    apart = divisor * np.linalg.norm(less - whole)  # of sums; a record is at most CLIP
    assert apart > 3 * CLIP


def test_what_changes_an_answer_is_another_question(tmp_path: Path, trainer: Trainer) -> None:
    first = named(trainer, order(tmp_path))

    found = {
        "cohort": named(trainer, order(tmp_path, out="P7\nP8\nP9")),
        "round": named(trainer, order(tmp_path, round=2)),
        "model": named(trainer, order(tmp_path, question="another model")),
        "plan": named(trainer, order(tmp_path, terms={"privacy": {"noise": 2.5, "clip": CLIP}})),
    }
    back = named(trainer, order(tmp_path))
    content = (tmp_path / "patients.csv").read_text()
    (tmp_path / "patients.csv").write_text(content.replace(",36.", ",37."))
    trainer.cohorts, trainer._engine = (
        Cohorts(SECRET),
        ("", None),
    )  # as in a trainer that was started anew
    mended = named(trainer, order(tmp_path))

    assert back == first
    assert len({first, mended, *found.values()}) == 6


def test_another_computer_is_another_question(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = named(trainer, order(tmp_path))
    monkeypatch.setattr(_device, "_CPUINFO", tmp_path / "another")

    assert named(trainer, order(tmp_path)) != here


def test_an_answer_over_other_data_than_were_paid_for_is_refused(
    tmp_path: Path, trainer: Trainer
) -> None:
    paid = named(trainer, order(tmp_path))

    with pytest.raises(DataError, match="changed"):
        answer(trainer, order(tmp_path, out="P7\nP8\nP9", paid=paid))


def test_the_tight_epsilon_comes_with_the_last_answer(tmp_path: Path, trainer: Trainer) -> None:
    terms = {"rounds": 3, "training": {"batch": 20}, "privacy": {"noise": 2.0}}

    told = [
        trainer.train(order(tmp_path, terms=terms, round=n + 1, answered=n), io.StringIO())
        for n in range(3)
    ]

    assert [("tight" in one) for one in told] == [False, False, True]
    assert 0.5 * told[-1]["epsilon"] < told[-1]["tight"] < told[-1]["epsilon"]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    journal.create(tmp_path / "journal")
    found = Journal(tmp_path / "journal", source="agent")
    yield found
    found.close()


def spend(ledger: Ledger, key: Key, question: str, epsilon: float, **changes: Any) -> None:
    about = {"place": "here", "delta": 1e-5, "tight": None, "counted": 90, **changes}
    terms = fed.study(**{**TERMS, "data": about.pop("data", "clinical")})
    ledger.spend(key, terms, question, epsilon=epsilon, **about)


def test_a_limit_counts_what_the_plan_spends_over_all_names_of_one_folder(book: Journal) -> None:
    ledger, key = Ledger(book, limit=4.0), Key("now", 1, "train")
    spend(ledger, Key("a", 1, "train"), "q", 3.0, data="mimic_iv")

    def admit(data: str, place: str, wanted: float) -> int:
        study = fed.study(data=data, privacy={"noise": 0.3})
        return ledger.admit(key, study, "new", place=place, wanted=wanted)

    for data, place in (("mimic_iv_series", "here"), ("mimic_iv", "moved"), ("mimic_iv", "")):
        with pytest.raises(PrivacyError, match=r"3 of this site's 4"):
            admit(data, place, 3.0)
    assert admit("mimic_iv_series", "here", 1.0) == 0
    assert admit("mimic_iv_series", "there", 3.0) == 0
    assert admit("digits", "", 3.0) == 0  # what comes with fedtui lies nowhere


def test_a_question_is_paid_once_and_a_run_never_costs_less_than_before(book: Journal) -> None:
    ledger = Ledger(book, limit=None)

    for number, (question, epsilon) in enumerate((("a", 1.0), ("b", 2.0), ("b", 2.0), ("c", 1.5))):
        spend(ledger, Key("r", number, "train"), question, epsilon)

    found = [r.event for r in book.own(("PrivacySpent",))]
    assert [(e.question, e.epsilon) for e in found if isinstance(e, events.PrivacySpent)] == [
        ("a", 1.0), ("b", 2.0), ("c", 2.0)
    ]  # fmt: skip


def test_a_run_is_planned_for_the_rows_of_its_first_answer(
    tmp_path: Path, trainer: Trainer, book: Journal
) -> None:
    ledger, key = Ledger(book, limit=None), Key("run", 1, "train")
    terms = {"rounds": 3, "training": {"batch": 20}, "privacy": {"noise": 1.5}}
    assert ledger.counted("run") is None
    first = trainer.promise(order(tmp_path, terms=terms))
    spend(ledger, key, "q", first["epsilon"], counted=first["counted"])

    about = len(trainer.cohorts.load(fed.study(**TERMS), order(tmp_path)["source"]).train)
    gone = "\n".join(f"P{n}" for n in range(30))
    fewer = order(tmp_path, terms=terms, out=gone, counted=ledger.counted("run"), answered=1)
    done = trainer.train(fewer, io.StringIO())

    assert abs(first["counted"] - about) <= 2
    assert done["examples"] < first["counted"] - 10
    assert trainer.promise(fewer)["counted"] == first["counted"]
    assert trainer.promise({**fewer, "counted": None})["counted"] < first["counted"]
    # Of one plan twice, not of two: the whole run still costs what was promised.
    trainer.promise(fewer)
    kept = trainer._engine[1].plan
    assert kept.spent(3) == first["epsilon"]
    assert done["epsilon"] == kept.spent(2)
    spend(ledger, Key("run", 2, "train"), "r", done["epsilon"], counted=55)
    assert ledger.counted("run") == first["counted"]


def test_a_run_has_one_engine_from_its_first_promise_on(tmp_path: Path, trainer: Trainer) -> None:
    terms = {"training": {"batch": 20}}
    first = trainer.promise(order(tmp_path, terms=terms))
    engine = trainer._engine[1]
    later = order(tmp_path, terms=terms, counted=first["counted"])

    trainer.train(order(tmp_path, terms=terms), io.StringIO())
    trainer.evaluate(later)
    trainer.train({**later, "answered": 1}, io.StringIO())

    assert trainer._engine[1] is engine


def test_how_far_a_site_is_does_not_tell_whether_one_opted_out(
    tmp_path: Path, trainer: Trainer
) -> None:
    def progress(out: str) -> tuple[int, list[dict[str, int]]]:
        asked, said = order(tmp_path, out=out, terms={"training": {"batch": size}}), io.StringIO()
        done = trainer.train(asked, said)
        lines = [json.loads(line) for line in said.getvalue().splitlines()]
        told = [line["progress"] for line in lines if "progress" in line]
        return done["examples"], [{**one, "loss": 0} for one in told]

    def rows(out: str) -> int:
        return len(
            trainer.cohorts.load(fed.study(**TERMS), order(tmp_path, out=out)["source"]).train
        )

    size = disclosure.rounded(rows("")) - 5  # of a batch: one row more is a step more
    lists = ["\n".join(f"P{number}" for number in range(gone)) for gone in range(60)]
    exact = next(out for out in lists if rows(out) == size)
    one_more = lists[lists.index(exact) - 1]
    _, one = progress(one_more)
    _, other = progress(exact)

    assert rows(one_more) == rows(exact) + 1
    assert one == other
    assert one[-1]["step"] == one[-1]["steps"]
