"""The contract of every data set, and the two that come with scikit-learn."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets as sklearn

import datasets
from datasets import DataError, Dataset, Feature, Pictures, Split
from datasets._splits import divide

BUNDLED = [name for name in datasets.names() if not datasets.needs_path(name)]


def table(groups: list[int]) -> Split:
    x = np.ones((len(groups), 1), dtype=np.float32)
    y = np.zeros(len(groups), dtype=np.int32)
    return Split(x=x, mask=x > 0, y=y, groups=np.array(groups, dtype=np.int64))


def made(train: list[int], validation: list[int], test: list[int]) -> Dataset:
    return Dataset(
        name="made",
        part="all",
        features=(Feature(name="age", unit="years", low=0, high=120),),
        classes=("no", "yes"),
        train=table(train),
        validation=table(validation),
        test=table(test),
    )


def test_listing_and_asking_about_data_sets_imports_nothing_heavy() -> None:
    program = """
import sys, datasets
for name in datasets.names():
    datasets.parts(name), datasets.needs_path(name)
datasets.load("digits")
print(*sorted({"jax", "sklearn", "polars", "PIL", "models", "fedtui"} & set(sys.modules)))
"""

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (answer.stdout.strip(), answer.stderr) == ("", "")


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for name in BUNDLED for part in datasets.parts(name)]
)
def test_every_part_keeps_the_contract(name: str, part: str) -> None:
    data = datasets.load(name, part=part)

    assert (data.name, data.part) == (name, part)
    assert data.gives in datasets.gives(name)
    assert len(data.classes) == datasets.classes(name)
    assert data.schema_hash == datasets.load(name).schema_hash
    for split in (data.train, data.validation, data.test):
        assert split.x.shape == split.mask.shape == (len(split), len(data.features))
        arrays = (split.x, split.mask, split.y, split.groups)
        assert [str(array.dtype) for array in arrays] == ["float32", "bool", "int32", "int64"]
        assert set(split.y) <= set(range(len(data.classes)))
        low, high = zip(*[(f.low, f.high) for f in data.features], strict=True)
        assert ((split.x >= low) & (split.x <= high)).all()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("digits", ["even", "odd"]),
        *((name, [f"{k + 1}/{n}" for k in range(n)]) for name in BUNDLED for n in range(2, 6)),
    ],
)
def test_the_parts_of_every_split_are_the_split_without_overlap(
    name: str, parts: list[str]
) -> None:
    whole = datasets.load(name)

    shares = [datasets.load(name, part=part) for part in parts]

    for split in ("train", "validation", "test"):
        found = np.concatenate([getattr(share, split).groups for share in shares])
        assert sorted(found) == sorted(getattr(whole, split).groups)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_seed_decides_the_splits(name: str) -> None:
    first, again, other = (datasets.load(name, seed=seed) for seed in (3, 3, 4))

    assert np.array_equal(first.test.groups, again.test.groups)
    assert not np.array_equal(first.test.groups, other.test.groups)


def test_digits_are_scikit_learns() -> None:
    data, source = datasets.load("digits"), sklearn.load_digits()

    for split in (data.train, data.validation, data.test):
        assert np.array_equal(split.x, source.data[split.groups] / 16)
        assert np.array_equal(split.y, source.target[split.groups])


def test_an_even_site_has_even_digits_only() -> None:
    assert set(datasets.load("digits", part="even").train.y) == {0, 2, 4, 6, 8}
    assert set(datasets.load("digits", part="2/3").test.y) == {1, 4, 7}


def test_breast_cancer_is_scikit_learns_with_malignant_as_the_case() -> None:
    data, source = datasets.load("breast_cancer"), sklearn.load_breast_cancer()

    for split in (data.train, data.validation, data.test):
        assert np.array_equal(split.x, source.data[split.groups].astype(np.float32))
        assert np.array_equal(split.y, 1 - source.target[split.groups])
        assert split.mask.all()
    assert [f.name.replace("_", " ") for f in data.features[:9]] == list(source.feature_names[:9])


def test_the_first_of_two_sites_has_nine_in_ten_malignant_patients() -> None:
    first, second = (datasets.load("breast_cancer", part=part).train for part in ("1/2", "2/2"))

    malignant, benign = ([np.sum(s.y == label) for s in (first, second)] for label in (1, 0))

    assert malignant[0] / sum(malignant) == pytest.approx(0.9, abs=0.005)  # rounded to patients
    assert benign[0] / sum(benign) == pytest.approx(0.1, abs=0.005)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1), st.integers(0, 99))
def test_no_patient_is_divided_and_no_row_is_lost(rows: list[tuple[int, int]], seed: int) -> None:
    labels, groups = np.array(rows, dtype=np.int32).T

    division = divide(
        labels,
        groups.astype(np.int64),
        test=0.3,
        validation=0.1,
        random=np.random.default_rng(seed),
    )

    assert sorted(np.concatenate(division)) == list(range(len(rows)))
    train, validation, test = (set(groups[split]) for split in division)
    assert not train & validation | train & test | validation & test


def test_every_label_gives_the_same_share_to_the_test_split() -> None:
    labels = np.repeat([0, 1], [900, 100]).astype(np.int32)

    division = divide(
        labels, np.arange(1000), test=0.2, validation=0.1, random=np.random.default_rng(0)
    )

    assert np.bincount(labels[division.test]).tolist() == [180, 20]
    assert np.bincount(labels[division.validation]).tolist() == [72, 8]


def test_a_patient_in_two_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="two splits"):
        made(train=[1, 2], validation=[], test=[2])


def test_a_patient_may_have_several_rows_in_one_split() -> None:
    assert len(made(train=[1, 1, 2], validation=[], test=[3, 3]).train) == 3


def test_a_site_without_training_examples_is_named() -> None:
    with pytest.raises(DataError, match="no training examples"):
        made(train=[], validation=[], test=[1])


def test_values_that_are_not_finite_never_reach_a_model() -> None:
    split = table([1, 2])

    with pytest.raises(ValueError, match="finite"):
        replace(split, x=np.array([[np.nan], [1]], dtype=np.float32))
    with pytest.raises(ValueError, match="0 where not measured"):
        replace(split, mask=np.zeros_like(split.mask))


@pytest.mark.parametrize(
    "change",
    [{"name": "weight"}, {"unit": "months"}, {"kind": "binary"}, {"low": 1.0}, {"high": None}],
)
def test_the_schema_hash_tells_sites_that_disagree_on_a_feature(change: dict[str, Any]) -> None:
    here = made([1], [], [])
    there = replace(here, features=(replace(here.features[0], **change),))

    assert here.schema_hash == replace(here, part="1/2").schema_hash
    assert here.schema_hash != there.schema_hash


@pytest.mark.parametrize(
    ("name", "part", "wrong"),
    [("digitz", "all", "digitz"), ("_splits", "all", "_splits"), ("digits", "1/9", "1/9")],
)
def test_an_unknown_name_or_part_is_answered_with_the_choice(
    name: str, part: str, wrong: str
) -> None:
    with pytest.raises(DataError, match=wrong) as caught:
        datasets.load(name, part=part)

    assert caught.value.remedy.startswith("Choose one of ")


def test_a_data_set_in_files_asks_for_its_folder() -> None:
    with pytest.raises(DataError, match="folder") as caught:
        datasets.load("heart_disease", part="va")

    assert "path" in caught.value.remedy


def test_pictures_are_as_many_as_examples_and_are_taken_by_row() -> None:
    pixels = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    pictures = Pictures(pixels=pixels, rows=np.array([4, 1]))

    assert np.array_equal(pictures.take(np.array([1, 0])), pixels[[1, 4]])
    assert len(replace(table([1, 2]), pictures=pictures)) == 2
    with pytest.raises(ValueError, match="as many"):
        replace(table([1, 2, 3]), pictures=pictures)


def test_the_cohort_hash_tells_who_takes_part_and_not_in_which_split() -> None:
    one = made(train=[1, 2], validation=[3], test=[4])

    assert one.cohort_hash == made(train=[4, 3], validation=[2], test=[1]).cohort_hash
    assert one.cohort_hash != made(train=[1, 2], validation=[3], test=[]).cohort_hash


def test_a_series_is_summed_over_its_hours() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    groups = np.arange(2, dtype=np.int64)
    split = Split(x=x, mask=x > 0, y=np.zeros(2, dtype=np.int32), groups=groups)

    sums = datasets.statistics(split)

    assert [part.tolist() for part in sums] == [[5, 6], [30, 36], [220, 286]]
