"""Four hospitals' files: read as they are, and refused by row and column where they are broken."""

import os
from pathlib import Path

import numpy as np
import pytest

import datasets
from datasets import DataError

SIZES = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}
# Shares of patients with disease, from the provenance note beside the files.
POSITIVE = {"cleveland": 0.459, "hungarian": 0.361, "switzerland": 0.935, "va": 0.745}
ROW = "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0"
SECRET = "7654321"  # stands for a patient's value: no message may hold it


@pytest.fixture
def real() -> Path:
    folder = Path(os.environ.get("FEDTUI_SHARED_DATA", "../shared/data"), "heart_disease")
    if not folder.is_dir():
        pytest.skip(f"the UCI files are not in {folder}; set FEDTUI_SHARED_DATA")
    return folder


def write(folder: Path, text: str) -> Path:
    (folder / "processed.va.data").write_text(text, encoding="utf-8")
    return folder


def rows(count: int) -> list[list[str]]:
    """Patients 40 years old and older, the diseased and the healthy in turn."""
    return [[str(40 + n % 40), *ROW.split(",")[1:-1], str(n % 2)] for n in range(count)]


def text(table: list[list[str]]) -> str:
    return "\n".join(",".join(row) for row in table) + "\n"


def column(data: datasets.Dataset, name: str) -> int:
    return [feature.name for feature in data.features].index(name)


@pytest.mark.parametrize("hospital", SIZES)
def test_a_hospital_has_all_its_patients_and_its_share_of_disease(
    real: Path, hospital: str
) -> None:
    data = datasets.load("heart_disease", path=real, part=hospital)

    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == SIZES[hospital]
    assert np.concatenate([s.y for s in splits]).mean() == pytest.approx(
        POSITIVE[hospital], abs=5e-4
    )
    assert len(data.test) / SIZES[hospital] == pytest.approx(0.34, abs=0.01)  # whole patients
    assert len(data.features) == 25


def test_the_hospitals_together_are_the_whole_whatever_is_loaded(real: Path) -> None:
    whole = datasets.load("heart_disease", path=real, seed=5)
    alone = [datasets.load("heart_disease", path=real, part=part, seed=5) for part in SIZES]

    assert np.array_equal(whole.test.groups, np.concatenate([d.test.groups for d in alone]))
    assert np.array_equal(whole.test.x, np.concatenate([d.test.x for d in alone]))
    assert len({d.schema_hash for d in (whole, *alone)}) == 1


def test_cholesterol_0_is_missing_at_every_swiss_patient(real: Path) -> None:
    data = datasets.load("heart_disease", path=real, part="switzerland")

    assert not data.train.mask[:, column(data, "chol")].any()
    assert (data.train.x[:, column(data, "chol_missing")] == 1).all()


def test_a_hospital_needs_its_own_file_only(tmp_path: Path) -> None:
    data = datasets.load("heart_disease", path=write(tmp_path, text(rows(50))), part="va")

    assert len(data.train) + len(data.validation) + len(data.test) == 50


def test_question_marks_and_impossible_values_are_missing_and_flagged(tmp_path: Path) -> None:
    table = rows(50)
    for row in table:
        row[3], row[4], row[6] = "?", "0", "?"
    data = datasets.load("heart_disease", path=write(tmp_path, text(table)), part="va")

    for name in ("trestbps", "chol", "restecg_1", "restecg_2"):
        assert not data.train.mask[:, column(data, name)].any()
    for name, flag in (("trestbps_missing", 1), ("chol_missing", 1), ("thalach_missing", 0)):
        assert (data.train.x[:, column(data, name)] == flag).all()


def test_codes_become_columns(tmp_path: Path) -> None:
    table = rows(50)
    for row in table:
        row[2], row[6] = "3.0", "0"
    data = datasets.load("heart_disease", path=write(tmp_path, text(table)), part="va")

    coded = {name: data.train.x[0, column(data, name)] for name in ("cp_2", "cp_3", "cp_4")}
    assert coded == {"cp_2": 0, "cp_3": 1, "cp_4": 0}
    assert data.train.x[0, column(data, "restecg_1")] == 0


def test_windows_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    content = text(rows(50)).replace("\n", "\r\n") + "\r\n"
    (tmp_path / "processed.va.data").write_bytes(content.encode())

    assert len(datasets.load("heart_disease", path=tmp_path, part="va").test.y) > 0


@pytest.mark.parametrize(
    ("cell", "value", "where"),
    [
        (0, SECRET + "x", "row 3, column age: not a number"),
        (4, "", "row 3, column chol: not a number"),
        (4, "nan", "row 3, column chol: not a number"),
        (9, "1e999", "row 3, column oldpeak: not a number"),
        (2, SECRET, "row 3, column cp: not one of its codes"),
        (13, SECRET, "row 3, column num: not one of its codes"),
        (13, "?", "row 3, column num: it is missing"),
        (13, f"0,{SECRET}", "row 3: 15 columns instead of 14"),
    ],
)
def test_a_broken_cell_is_named_by_place_and_never_quoted(
    tmp_path: Path, cell: int, value: str, where: str
) -> None:
    table = rows(50)
    table[2][cell] = value

    with pytest.raises(DataError) as caught:
        datasets.load("heart_disease", path=write(tmp_path, text(table)), part="va")

    assert str(caught.value).startswith(f"processed.va.data, {where}")
    assert SECRET not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfe\x00", "not a text file"),
        (None, "No such"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "processed.va.data").write_bytes(content)

    with pytest.raises(DataError, match="processed.va.data.*" + what) as caught:
        datasets.load("heart_disease", path=tmp_path, part="va")

    assert caught.value.remedy
