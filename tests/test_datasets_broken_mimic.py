"""Copies of MIMIC-IV as they should not be: refused by file, row and column, never by value."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import datasets
from datasets import DataError
from tests.mimic_by_hand import MORNING, chart, hand
from tests.test_datasets_broken import told

SECRET = "8112189876"  # stands for a patient's value: no message may hold it
ROWS = "".join(chart(220045, (MORNING, "80")) for _ in range(20))
CHART, STAYS, PATIENTS = "icu/chartevents", "icu/icustays", "hosp/patients"
ADMISSIONS = "hosp/admissions"


def line(number: int, old: str, new: str) -> Callable[[bytes], bytes]:
    """Replaces on one line, counted from 1."""

    def edit(data: bytes) -> bytes:
        lines = data.decode().splitlines(keepends=True)
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        return "".join(lines).encode()

    return edit


def end(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data + text


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "an id that is none": (
        CHART,
        line(4, "220045", f"x{SECRET}"),
        "chartevents.csv, row 4, column itemid: not a whole",
    ),
    "an id too large": (CHART, line(4, "220045", SECRET), "row 4, column itemid: not an id"),
    "a torn row": (CHART, end(b"3000"), "row 22: 1 columns instead of 7"),
    "no item": (CHART, line(4, "220045", ""), "row 4, column itemid: it is missing"),
    "a time that is none": (
        CHART,
        line(4, MORNING, f"{SECRET}T"),
        "row 4, column charttime: not a time",
    ),
    "a Swedish time": (CHART, line(4, MORNING, "1/1/51 07:00"), "row 4, column charttime: not a"),
    "a number that is none": (
        CHART,
        line(4, ",80,\n", f",<{SECRET},\n"),
        "row 4, column valuenum: not a number",
    ),
    "a decimal comma": (
        CHART,
        line(4, ",80,\n", ',"36,6",\n'),
        "row 4, column valuenum: not a number",
    ),
    "a chart without its header": (
        CHART,
        lambda data: data.split(b"\n", 1)[1],
        "chartevents.csv: column stay_id",
    ),
    "a chart with a column twice": (
        CHART,
        line(1, "valueuom", "itemid"),
        "column itemid: there are 2 of that name",
    ),
    "an empty chart": (CHART, lambda _: b"", "chartevents.csv is empty"),
    "a chart with semicolons": (
        CHART,
        lambda data: data.replace(b",", b";"),
        "chartevents.csv: column stay_id",
    ),
    "a chart in UTF-16": (CHART, lambda data: data.decode().encode("utf-16"), "chartevents.csv"),
    "zeros in the chart": (CHART, line(9, "220045", "\0" * 6), "row 9: NUL bytes"),
    "a quotation mark": (CHART, line(9, "220045", '"220045'), "a quotation mark is not closed"),
    "a blood value that is none": (
        "hosp/labevents",
        end(f"1000,,{MORNING},,50912,{SECRET}x\n".encode()),
        "labevents.csv, row 2, column valuenum: not a number",
    ),
    "urine that is none": (
        "icu/outputevents",
        end(f"3000,{MORNING},,226559,{SECRET}x\n".encode()),
        "outputevents.csv, row 2, column value: not a number",
    ),
    "a stay without a beginning": (
        STAYS,
        line(4, "2151-01-01 06:00:00", ""),
        "icustays.csv, row 4, column intime: it is missing",
    ),
    "a stay without an id": (STAYS, line(4, "3002", ""), "row 4, column stay_id: it is missing"),
    "no stays": (STAYS, lambda data: data.split(b"\n", 1)[0] + b"\n", "icustays.csv is empty"),
    "a patient twice": (
        PATIENTS,
        end(b"1000,F,30,2150,2014 - 2016,\n"),
        "patients.csv, row 2, column subject_id: it",
    ),
    "an age that is none": (
        PATIENTS,
        line(4, "62", "old"),
        "row 4, column anchor_age: not a whole",
    ),
    "a patient without a row's end": (PATIENTS, end(b"1100,F"), "row 102: 2 columns instead of 6"),
    "an admission twice": (
        ADMISSIONS,
        end(b"1000,2000,2151-01-01 05:00:00,,,0\n"),
        "column hadm_id: it is there more",
    ),
    "an admission without a time": (
        ADMISSIONS,
        line(4, "2151-01-01 05:00:00", "yesterday"),
        "row 4, column admittime: not a time",
    ),
    "a flag that is none": (
        ADMISSIONS,
        line(4, ",0\n", ",no\n"),
        "column hospital_expire_flag: not",
    ),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "cache"))


def refused(folder: Path, place: str) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load("mimic_iv", path=folder)

    said = str(caught.value) + " " + caught.value.remedy
    assert place in said
    assert caught.value.remedy.endswith(".")
    assert SECRET not in told(caught.value)
    assert said.isprintable()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_table_is_named(tmp_path: Path, name: str) -> None:
    folder = hand(tmp_path / "m", chart=ROWS)
    table, edit, place = BROKEN[name]
    file = folder / f"{table}.csv"
    file.write_bytes(edit(file.read_bytes()))

    refused(folder, place)

    try:
        found = datasets.check("mimic_iv", folder)
    except DataError:
        return  # no table at all
    said = [violation.place + violation.what for violation in found if violation.blocks]
    assert any(file.name.removesuffix(".csv") in words for words in said)
    assert SECRET not in str(said)


@pytest.mark.parametrize("cut", [10, 100, -5])
def test_a_download_that_was_cut_off_is_named(tmp_path: Path, cut: int) -> None:
    folder = hand(tmp_path / "m", chart=ROWS * 50)
    plain = folder / "icu" / "chartevents.csv"
    packed = gzip.compress(plain.read_bytes())
    plain.unlink()
    (folder / "icu" / "chartevents.csv.gz").write_bytes(packed[:cut])

    refused(folder, "chartevents.csv.gz cannot be read: the gzip packing is damaged or cut off")


def test_folders_that_are_no_copy_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "There is no folder")
    refused(tmp_path, "no folders hosp/ and icu/")
    hand(tmp_path / "2.2")
    shutil.copytree(tmp_path / "2.2", tmp_path / "3.1")
    refused(tmp_path, "several copies: 2.2, 3.1")
    (tmp_path / "1.0" / "core").mkdir(parents=True)
    refused(tmp_path / "1.0", "MIMIC-IV 1.0")
    (tmp_path / "2.2" / "hosp" / "admissions.csv").unlink()
    refused(tmp_path / "2.2", "hosp/admissions.csv.gz is missing")


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDTUI_CACHE", str(tmp_path / "file"))

    refused(hand(tmp_path / "m", chart=ROWS), "cache folder")
