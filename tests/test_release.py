"""The exit of a site: what may leave, and what stands in its place."""

import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from datasets import Feature, Split
from fedtui import events, journal
from fedtui.errors import PrivacyError, ResourceError
from fedtui.flower.release import Exit
from fedtui.flower.releases import Releases
from fedtui.flower.work import Key
from fedtui.journal import Journal
from tests.exits import (
    FEATURES,
    MINIMUM,
    Way,
    behind,
    evaluate,
    message,
    patients,
    prepare,
    way_out,
)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    with way_out(tmp_path) as made:
        yield made


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


def test_patients_are_counted_once_however_many_rows_and_hours_they_have() -> None:
    groups = np.array([1, 1, 2, 3], dtype=np.int64)
    x = np.array([[[0], [1]], [[0], [0]], [[0], [0]], [[2], [0]]], dtype=np.float32)
    mask = np.array([[[1], [1]], [[1], [0]], [[0], [0]], [[1], [1]]], dtype=np.bool_)

    found = datasets.support(Split(x=x, mask=mask, y=np.zeros(4, dtype=np.int32), groups=groups))

    assert [part.tolist() for part in found] == [[2], [2], [2]]
