"""The exit of a site: what may leave, what stands in its place, and what the journal says of it."""

import json
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from datasets import Feature, Split
from fedtui import events, journal
from fedtui.disclosure import equal_bins, rounded
from fedtui.errors import DataError, PrivacyError, ResourceError
from fedtui.flower.records import Behind, Measure, Record, Table
from fedtui.flower.release import Exit
from fedtui.flower.releases import Releases
from fedtui.flower.work import Key
from fedtui.identifiers import PERSONAL
from fedtui.journal import Journal

MINIMUM = 10
FEATURES = (
    Feature(name="age", unit="years", low=18, high=110),
    Feature(name="smoker", kind="binary", low=0, high=1),
    Feature(name="lactate", unit="mmol/l"),
)
CLASSES = ["alive", "dead"]


@dataclass
class Way:
    """An exit with a real journal and a real memory."""

    exit: Exit
    book: Journal
    folder: Path

    def cohort(self, people: range | list[int]) -> str:
        """Leaves who is in it where the trainer would; returns its name."""
        name = f"{min(people)}-{max(people)}-{len(people)}"
        np.array(sorted(people), dtype="<u8").tofile(self.exit.cohorts / f"{name}.u64")
        return name

    def released(self) -> events.Released:
        event = self.book.own(("Released",))[-1].event
        assert isinstance(event, events.Released)
        return event


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    journal.create(tmp_path / "journal.db")
    book = Journal(tmp_path / "journal.db", source="agent")
    releases = Releases(tmp_path / "releases", minimum=MINIMUM)
    exit = Exit(book, minimum_cell=MINIMUM, recipient="coordinator a:1", releases=releases)
    yield Way(exit, book, tmp_path / "releases")
    releases.close()
    book.close()


def message() -> Message:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    return Message(RecordDict({"config": ConfigRecord()}), 7, "query")


def patients(people: range | list[int], *, smokers: int = 40, lactate: int = 60) -> Split:
    """One row a patient; values depend on the patient alone."""
    ids = np.array(people)
    x = np.stack([20 + ids % 70, ids < smokers, 1 + ids / 50], axis=1).astype(np.float32)
    mask = np.ones(x.shape, dtype=np.bool_)
    mask[:, 2] = ids < lactate
    y = (ids % 3 == 0).astype(np.int32)
    return Split(x=np.where(mask, x, 0), mask=mask, y=y, groups=ids.astype(np.int64))


def behind(way: Way, split: Split) -> Behind:
    people = np.unique(split.groups)
    support = datasets.support(split)._asdict()
    classes = tuple(len(np.unique(split.groups[split.y == label])) for label in (0, 1))
    return Behind(
        patients=len(people), cohort=way.cohort(people.tolist()), classes=classes, support=support
    )


def prepare(way: Way, split: Split, features: tuple[Feature, ...] = FEATURES) -> dict[str, Any]:
    """Round 0 through the exit: what arrives."""
    reply = way.exit.release(
        Key("r", 0, "prepare"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={"seconds": 1.0},
        behind=behind(way, split),
        statistics=datasets.statistics(split)._asdict(),
        fields={"features": [asdict(f) for f in features], "classes": CLASSES},
    )
    fields = dict(reply.content.config_records["fields"])
    sums = {
        name: np.frombuffer(fields[name], dtype="<f8")  # type: ignore[arg-type]
        for name in ("count", "total", "square")
    }
    return {**sums, "labels": json.loads(str(fields["labels"])), "reply": reply}


def evaluate(way: Way, split: Split, question: str, **metrics: float) -> dict[str, Any]:
    reply = way.exit.release(
        Key("r", 1, "evaluate"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics=metrics,
        behind=behind(way, split),
        question=question,
    )
    return dict(reply.content.metric_records["metrics"])


def test_nothing_leaves_that_stands_on_fewer_patients_than_the_minimum(way: Way) -> None:
    with pytest.raises(PrivacyError, match="fewer than 10 patients"):
        evaluate(way, patients(range(9)), "m", loss=0.5)

    assert way.book.own(("Released",)) == []


def test_many_rows_of_few_patients_are_few_patients(way: Way) -> None:
    split = patients(range(90))
    few = Split(x=split.x, mask=split.mask, y=split.y, groups=split.groups % 9)

    with pytest.raises(PrivacyError, match="fewer than 10 patients"):
        evaluate(way, few, "m", loss=0.5)


@pytest.mark.parametrize(("smokers", "told"), [(0, False), (9, False), (10, True), (91, False)])
def test_a_yes_or_no_is_not_told_where_few_or_none_have_it_or_have_it_not(
    way: Way, smokers: int, *, told: bool
) -> None:
    sums = prepare(way, patients(range(100), smokers=smokers))

    assert (sums["count"][1] > 0) == told
    assert (sums["total"][1] > 0) == told
    assert way.released().suppressed == (0 if told else 1)


@pytest.mark.parametrize(("measured", "told"), [(0, False), (9, False), (10, True)])
def test_a_number_measured_in_few_patients_is_not_told(
    way: Way, measured: int, *, told: bool
) -> None:
    sums = prepare(way, patients(range(100), lactate=measured))

    assert (sums["count"][2] > 0) == told
    assert (sums["square"][2] > 0) == told


def test_sums_are_told_to_the_nearest_five_patients_and_keep_the_mean(way: Way) -> None:
    split = patients(range(103))

    sums = prepare(way, split)

    assert sums["count"].tolist() == [105, 105, 60]
    assert sums["total"][1] == 40
    exact = split.x[:, 0].astype(np.float64)
    assert sums["total"][0] / 105 == pytest.approx(exact.mean(), abs=exact.std() / 100)
    assert sums["labels"] == [70, 35]  # of 68 and 35
    assert sums["reply"].content.metric_records["metrics"]["num-examples"] == 105


def test_the_same_cohort_is_told_the_same_again_and_nobody_is_warned(way: Way) -> None:
    first = prepare(way, patients(range(100)))
    again = prepare(way, patients(range(100)))

    for name in ("count", "total", "square"):
        np.testing.assert_array_equal(first[name], again[name])
    assert way.released().level == "INFO"


@settings(max_examples=15, deadline=None)
@given(left=st.sets(st.integers(0, 99), min_size=1, max_size=MINIMUM - 1))
def test_who_opts_out_cannot_be_found_by_subtracting_two_releases(left: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        journal.create(path / "journal.db")
        book = Journal(path / "journal.db", source="agent")
        releases = Releases(path / "releases", minimum=MINIMUM)
        exit = Exit(book, minimum_cell=MINIMUM, recipient="x", releases=releases)
        way = Way(exit, book, path / "releases")

        before = prepare(way, patients(range(100)))
        after = prepare(way, patients([p for p in range(100) if p not in left]))

        for name in ("count", "total", "square"):
            np.testing.assert_array_equal(before[name], after[name])
        assert before["labels"] == after["labels"]
        assert way.released().level == "WARN"
        assert way.released().earlier
        releases.close()
        book.close()


def test_a_column_that_was_mended_is_told_anew_of_the_very_same_patients(way: Way) -> None:
    split = patients(range(100))
    prepare(way, split)
    mended = Split(x=split.x * 2, mask=split.mask, y=split.y, groups=split.groups)

    sums = prepare(way, mended)

    assert sums["total"][0] / 100 == pytest.approx(float(mended.x[:, 0].mean()), rel=0.01)
    assert not way.released().earlier


def test_a_cohort_that_differs_by_the_minimum_is_told_anew(way: Way) -> None:
    before = prepare(way, patients(range(100)))
    after = prepare(way, patients(range(10, 100)))

    assert before["count"].tolist() != after["count"].tolist()
    assert not way.released().earlier


def test_a_feature_never_told_before_is_told_of_almost_the_same_patients(way: Way) -> None:
    prepare(way, patients(range(100)))
    split = patients(range(1, 100))
    other = (Feature(name="creatinine"), *FEATURES[1:])

    sums = prepare(way, split, other)

    exact = float(split.x[:, 0].mean())
    assert sums["total"][0] / sums["count"][0] == pytest.approx(exact, rel=0.01)
    assert way.released().earlier


def test_metrics_of_one_model_over_almost_the_same_patients_are_those_told_before(way: Way) -> None:
    first = evaluate(way, patients(range(100)), "model 1", loss=0.51234, seconds=1.0)
    second = evaluate(way, patients(range(1, 100)), "model 1", loss=0.6, seconds=2.0)
    other = evaluate(way, patients(range(1, 100)), "model 2", loss=0.6, seconds=2.0)

    assert first == {"num-examples": 100, "loss": 0.512, "seconds": 1.0}
    assert second == {"num-examples": 100, "loss": 0.512, "seconds": 2.0}
    assert other["loss"] == 0.6


def test_metrics_that_compare_classes_need_the_minimum_of_each(way: Way) -> None:
    split = patients(range(100))
    y = (np.arange(100) < 9).astype(np.int32)
    few = Split(x=split.x, mask=split.mask, y=y, groups=split.groups)

    told = evaluate(way, few, "m", loss=0.1, accuracy=0.9, auroc=0.8, balanced_accuracy=0.7)

    assert set(told) == {"num-examples", "loss"}  # right in 9 of 10 is the share of the others
    assert way.released().suppressed == 3


def test_what_cannot_be_written_down_does_not_leave(way: Way) -> None:
    database = sqlite3.connect(way.folder / "releases.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    database.execute("DROP TABLE release")
    database.execute("COMMIT")
    database.close()

    with pytest.raises(ResourceError, match="nothing was sent"):
        prepare(way, patients(range(100)))
    assert way.book.own(("Released",)) == []


def told_in_training(way: Way, *, examples: int, private: bool) -> dict[str, Any]:
    split = patients(range(100))
    reply = way.exit.release(
        Key("r", 1, "train"),
        "f" * 64,
        reply_to=message(),
        examples=examples,
        metrics={"loss": 0.5, "epsilon": 1.0, "seconds": 2.0},
        behind=behind(way, split),
        private=private,
    )
    return dict(reply.content.metric_records["metrics"])


def test_a_training_loss_leaves_neither_bare_beside_noise_nor_of_a_few_examples(way: Way) -> None:
    plain = told_in_training(way, examples=100, private=False)
    private = told_in_training(way, examples=100, private=True)
    short = told_in_training(way, examples=MINIMUM - 1, private=False)

    assert plain["loss"] == 0.5
    assert set(private) == {"num-examples", "epsilon", "seconds"}
    assert set(short) == {"num-examples", "epsilon", "seconds"}


def test_progress_tells_no_loss_of_a_stretch_below_the_minimum(way: Way) -> None:
    def seen(examples: int, round: int = 1) -> events.TrainingProgressed:
        return events.TrainingProgressed(
            run="r", round=round, site="halland", step=examples, steps=99, loss=0.5,
            examples=examples,
        )  # fmt: skip

    def told(
        now: events.TrainingProgressed, before: events.TrainingProgressed | None, *, private: bool
    ) -> float | None:
        return way.exit.progress(now, before=before, private=private).loss

    assert told(seen(10), None, private=False) == 0.5
    assert told(seen(9), None, private=False) is None
    assert told(seen(45), seen(35), private=False) == 0.5
    assert told(seen(45), seen(36), private=False) is None
    assert told(seen(45, round=2), seen(36), private=False) == 0.5  # another round's
    assert told(seen(12), seen(64), private=False) == 0.5  # begun anew
    assert told(seen(1000), None, private=True) is None


def test_the_memory_outlives_the_process_and_nobody_else_can_read_it(way: Way) -> None:
    before = prepare(way, patients(range(100)))
    reopened = Releases(way.folder, minimum=MINIMUM)
    exit = Exit(way.book, minimum_cell=MINIMUM, recipient="x", releases=reopened)

    after = prepare(Way(exit, way.book, way.folder), patients(range(1, 100)))

    np.testing.assert_array_equal(before["total"], after["total"])
    assert stat.S_IMODE(way.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((way.folder / "releases.db").stat().st_mode) == 0o600
    reopened.close()


def validate(way: Way, record: Record, split: Split, question: str = "m") -> dict[str, Any]:
    reply = way.exit.release(
        Key("r", 9, "validate"),  # type: ignore[arg-type]  # whatever phase comes later
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={},
        behind=behind(way, split),
        question=question,
        record=record,
    )
    told: dict[str, Any] = json.loads(str(reply.content.config_records["fields"]["record"]))
    return told


def by_age(limits: tuple[str, ...], *counts: tuple[int, int]) -> Table:
    return Table(
        variables=("age", "outcome"),
        rows=limits,
        columns=("alive", "dead"),
        counts=np.array(counts, dtype=np.int64),
    )


def test_a_later_phase_tells_measures_tables_and_histograms_without_small_cells(way: Way) -> None:
    split = patients(range(100))
    scores = np.random.default_rng(0).random(100)
    record = Record(
        measures={
            "auroc": Measure(values=(0.83333, 0.7, None), patients=100, classes=(66, 34)),
            "auroc among smokers": Measure(values=(0.9, 0.8, 1.0), patients=12, classes=(9, 3)),
        },
        tables={
            "age": by_age(("<45", "45-65", ">65"), (30, 3), (21, 17), (15, 14)),
        },
        histograms={"score": equal_bins(scores, split.groups, low=0.0, high=1.0, minimum=MINIMUM)},
    )

    told = validate(way, record, split)

    assert told["measures"] == {"auroc": [0.833, 0.7, None], "auroc among smokers": None}
    counts = told["tables"]["age"]["counts"]
    assert counts[0][1] is None
    assert sum(cell is None for row in counts for cell in row) == 4
    assert [row[-1] for row in counts] == [35, 40, 30, 100]
    assert all(cell is None or cell % 5 == 0 for row in counts for cell in row)
    assert all(count >= MINIMUM for count in told["histograms"]["score"]["counts"])
    assert way.released().kind == "validation"
    assert way.released().suppressed == 6


def test_a_second_table_by_other_limits_is_withheld_and_the_journal_says_so(way: Way) -> None:
    split = patients(range(100))
    first = Record(tables={"age": by_age(("<45", "rest"), (30, 20), (25, 25))})
    shifted = Record(tables={"age": by_age(("<46", "rest"), (31, 20), (24, 25))})

    told = validate(way, first, split)
    again = validate(way, first, split)
    other = validate(way, shifted, split)

    assert told == again
    assert other["tables"]["age"]["counts"] == [[None] * 3] * 3
    assert way.released().withheld == ("age",)
    assert way.released().level == "WARN"


def test_identifiers_in_words_that_leave_are_taken_out(way: Way) -> None:
    error = DataError("Row 7: '900101-2385' is odd.", remedy="See subject_id 10000032.")
    reply = way.exit.failure(error, reply_to=message())
    body = way.exit.words(
        {
            "state": {"state": "train", "run": "digits-261123-152507"},
            "checked": {"unwell": {"data": "the cell 19900101-2385"}},
            "progress": {"loss": 0.123456, "examples": 9001012385},
            "head": {"run": "r", "at": 5, "head": "ab" * 32, "signature": "9001012385=="},
        }
    )

    assert "2385" not in reply.error.reason
    assert "10000032" not in reply.error.reason
    assert body["checked"]["unwell"]["data"] == f"the cell {PERSONAL}"
    assert body["progress"] == {"loss": 0.123, "examples": 9001012385}
    assert body["head"]["signature"] == "9001012385=="


def test_a_head_that_holds_words_does_not_leave(way: Way) -> None:
    with pytest.raises(PrivacyError):
        way.exit.words({"head": {"signature": "Åsa Canary, 900101-2385"}})


def test_the_journal_names_recipient_study_and_patients_before_anything_leaves(way: Way) -> None:
    prepare(way, patients(range(103)))

    told = way.released()

    assert (told.recipient, told.fingerprint) == ("coordinator a:1", "f" * 64)
    assert told.patients == rounded(103)


def test_the_journal_counts_every_byte_of_an_answer_that_leaves(way: Way) -> None:
    prepared = prepare(way, patients(range(103)))["reply"].content
    sums = way.released().bytes
    split = patients(range(103))
    evaluated = way.exit.release(
        Key("r", 1, "evaluate"),
        "f" * 64,
        reply_to=message(),
        examples=len(split),
        metrics={"auroc": 0.8, "loss": 0.4},
        behind=behind(way, split),
    ).content
    metrics = way.released().bytes

    for content, told in ((prepared, sums), (evaluated, metrics)):
        whole = len(recorddict_to_proto(content).SerializeToString())
        assert 0 < whole <= told <= whole + 400  # each part has a head with its children's ids


def test_patients_are_counted_once_however_many_rows_and_hours_they_have() -> None:
    groups = np.array([1, 1, 2, 3], dtype=np.int64)
    x = np.array([[[0], [1]], [[0], [0]], [[0], [0]], [[2], [0]]], dtype=np.float32)
    mask = np.array([[[1], [1]], [[1], [0]], [[0], [0]], [[1], [1]]], dtype=np.bool_)

    found = datasets.support(Split(x=x, mask=mask, y=np.zeros(4, dtype=np.int32), groups=groups))

    assert [part.tolist() for part in found] == [[2], [2], [2]]
