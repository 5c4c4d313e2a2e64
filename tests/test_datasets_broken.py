"""Files as they should not be: each is refused by place and remedy, and no value is ever told."""

import gzip
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasets
from datasets import DataError
from tests.test_datasets_clinical import HEADER, SCHEMA, rows, text

SECRET = "8112189876"  # stands for a patient's value: no message may hold it
TABLE = rows()


def cell(row: int, column: int, value: str, delimiter: str = ",") -> bytes:
    table = rows()
    table[row][column] = value
    return text(table, delimiter).encode()


def header(*names: str) -> bytes:
    return text(rows(), header=list(names)).encode()


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


GOOD = text(rows()).encode()
PACKED = gzip.compress(GOOD)
CELLS = {
    "text in a number": (1, f"x{SECRET}", "row 5, column ålder: not a number"),
    "a formula": (1, f"=A1+{SECRET}", "row 5, column ålder: not a number"),
    "Excel's error": (1, "#REF!", "row 5, column ålder: not a number"),
    "nan": (1, "nan", "row 5, column ålder: not a number"),
    "infinity": (1, "-inf", "row 5, column ålder: not a number"),
    "1e308": (1, "1e308", "row 5, column ålder: not a number"),
    "1e31": (1, "1e31", "row 5, column ålder: not a number that can be meant"),
    "a number beyond floats": (1, "9" * 400, "row 5, column ålder: not a number"),
    "Python's underscore": (1, "8_112_189_876", "row 5, column ålder: not a number"),
    "a unit in the cell": (2, f"{SECRET} °C", "row 5, column temp: not a number"),
    "a percent sign": (2, "36%", "row 5, column temp: not a number"),
    "less than": (2, f"<{SECRET}", "row 5, column temp: not a number"),
    "two numbers": (2, f"36 {SECRET}", "row 5, column temp: not a number"),
    "a date in a number": (2, "2020-01-01", "row 5, column temp: not a number"),
    "hexadecimal": (2, "0x24", "row 5, column temp: not a number"),
    "a space for thousands": (1, "1 000", "row 5, column ålder: not a number"),
    "an unknown code": (3, SECRET, "row 5, column sex: not one of its codes"),
    "a code in the wrong case": (3, "k", "row 5, column sex: not one of its codes"),
    "an unknown category": (4, SECRET, "row 5, column avdelning: not one of its codes"),
    "an unknown label": (5, SECRET, "row 5, column died: not one of its codes"),
    "no label": (5, "", "row 5, column died: it is missing"),
    "a missing label by its code": (5, "NA", "row 5, column died: it is missing"),
    "no patient": (0, "", "row 5, column pid: it is missing"),
    "a missing patient by its code": (0, "-9", "row 5, column pid: it is missing"),
    "10 M characters": (1, "1" * 10_000_000, "row 5: a quotation mark is not closed, or a cell"),
    "a quotation mark": (1, f'{SECRET}"x', "row 5, column ålder: not a number"),
    "a NUL": (1, f"{SECRET}\0", "row 5: NUL bytes"),
    "an escape": (1, f"\x1b[2J{SECRET}", "row 5, column ålder: not a number"),
    "a line break": (1, f"{SECRET}\n1", "row 6, column ålder: not a number"),
}
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "line ends only": (lambda: b"\n\r\n\n", "is empty"),
    "a header only": (lambda: header(*HEADER)[:40].split(b"\n")[0] + b"\n", "is empty"),
    "a mark only": (lambda: b"\xef\xbb\xbf", "is empty"),
    "a missing column": (
        lambda: header("pid", "ålder", "t", *HEADER[3:]),
        "column temp is missing",
    ),
    "two missing columns": (
        lambda: header("p", "ålder", "t", *HEADER[3:]),
        "column temp, pid is missing",
    ),
    "a column twice": (
        lambda: text([[*r, "1"] for r in rows()], header=[*HEADER, "temp"]).encode(),
        "column temp: there are 2 of that name",
    ),
    "no header": (
        lambda: GOOD.split(b"\n", 1)[1],
        "column ålder, temp, sex, avdelning, died, pid is missing",
    ),
    "a header in another case": (
        lambda: header(*(name.upper() for name in HEADER)),
        "column ålder",
    ),
    "a cell too few": (lambda: GOOD.replace(b",yes\n", b"\n", 1), "row 2: 5 columns instead of 6"),
    "a cell too many": (
        lambda: GOOD.replace(b",yes", b",yes," + SECRET.encode(), 1),
        "row 2: 7 columns instead of 6",
    ),
    "a decimal comma between commas": (
        lambda: GOOD.replace(b"36.0", b"36,0", 1),
        "row 2: 7 columns instead of 6",
    ),
    "points and commas": (lambda: cell(3, 2, "36,6", ";"), "row 5, column temp: a decimal comma"),
    "thousands or decimals": (
        lambda: text([[*r[:2], "36,612", *r[3:]] for r in rows()], ";").encode(),
        "row 2, column temp: a comma before three digits",
    ),
    "an open quotation mark": (
        lambda: GOOD.replace(b"P7,", b'"P7,', 1),
        "a quotation mark is not closed",
    ),
    "cut off in a cell": (lambda: GOOD[:-6], "columns instead of 6"),
    "UTF-16 cut off": (lambda: text(rows()).encode("utf-16")[:-1], "not a text file"),
    "gzip cut off": (lambda: PACKED[:-20], "packing is damaged or cut off"),
    "gzip with a flipped bit": (
        lambda: PACKED[:200] + bytes([PACKED[200] ^ 64]) + PACKED[201:],
        "packing is damaged or cut off",
    ),
    "gzip of nothing": (lambda: gzip.compress(b""), "is empty"),
    "gzip, then rubbish": (lambda: PACKED + noise(100), "packing is damaged or cut off"),
    "an Excel file": (lambda: b"PK\x03\x04" + noise(999), "an Excel or zip file"),
    "an old Excel file": (lambda: b"\xd0\xcf\x11\xe0" + noise(999), "an old Excel file"),
    "a PDF": (lambda: b"%PDF-1.7 " + noise(999), "a PDF"),
    "SPSS": (lambda: b"$FL2@(#)" + noise(999), "an SPSS file"),
    "bzip2": (lambda: b"BZh9" + noise(999), "packed with bzip2"),
    "xz": (lambda: b"\xfd7zXZ\0" + noise(999), "packed with xz"),
    "zstd": (lambda: b"(\xb5/\xfd" + noise(999), "packed with zstd"),
    "Parquet by its first bytes only": (lambda: b"PAR1" + noise(999), "not a whole Parquet file"),
    "Parquet without a middle": (lambda: b"PAR1" + noise(999) + b"PAR1", "Parquet columns"),
    "noise": (lambda: b"\x80\x01\x02" + noise(9999), "patients.csv cannot be read"),
    "a picture": (lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF" + noise(9999), "cannot be read"),
    "HTML": (lambda: b"<html><body>Log in</body></html>", "column ålder"),
    "JSON": (lambda: b'{"pid": 1, "temp": 36.6}', "column ålder"),
    "zeros": (lambda: bytes(9999), "patients.csv"),
    "Fahrenheit": (
        lambda: text([[*r[:2], str(97 + n % 3), *r[3:]] for n, r in enumerate(rows())]).encode(),
        "column temp: its values look like °F",
    ),
}


def told(error: BaseException) -> str:
    """Everything that an error and those behind it would show, in a log too."""
    shown = ""
    behind: BaseException | None = error
    while behind is not None:
        shown += f"{behind} {getattr(behind, 'remedy', '')} "
        behind = behind.__cause__ or behind.__context__
    return shown


def refused(folder: Path, place: str) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load("clinical", path=folder)

    said = str(caught.value) + " " + caught.value.remedy
    assert place in said
    assert caught.value.remedy.endswith((".", "'."))
    assert SECRET not in told(caught.value)
    assert "P7" not in told(caught.value)
    assert len(said) < 500
    assert said.isprintable()


@pytest.mark.parametrize("name", CELLS)
def test_a_broken_cell_is_named_by_row_and_column(tmp_path: Path, name: str) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    column, value, place = CELLS[name]
    (tmp_path / "patients.csv").write_bytes(cell(3, column, value))

    refused(tmp_path, f"patients.csv, {place}")


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    make, place = FILES[name]
    (tmp_path / "patients.csv").write_bytes(make())

    refused(tmp_path, place)


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "patients.csv").symlink_to("/proc/self/mem")  # reads with an I/O error

    refused(tmp_path, "patients.csv cannot be read: Input/output error")


def test_a_file_of_another_account_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "patients.csv").write_bytes(GOOD)
    (tmp_path / "patients.csv").chmod(0)
    if os.access(tmp_path / "patients.csv", os.R_OK):
        pytest.skip("root reads everything")

    refused(tmp_path, "patients.csv cannot be read: Permission denied")


@pytest.mark.parametrize("filling", [b"\0", b"a", b"1,"])
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_named(
    tmp_path: Path, filling: bytes
) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    packed = gzip.compress(GOOD + filling * 20_000_000, compresslevel=1)
    (tmp_path / "patients.csv").write_bytes(packed)

    refused(tmp_path, "patients.csv")


def test_one_row_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "patients.csv").write_bytes(text(rows(1, 1)).encode())

    data = datasets.load("clinical", path=tmp_path)

    assert (len(data.train), len(data.validation), len(data.test)) == (1, 0, 0)


@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("No such file", lambda _: None),
        ("it is not a file", Path.mkdir),
        ("symbolic links", lambda file: file.symlink_to(file)),
        ("No such file", lambda file: file.symlink_to("gone")),
        ("it is not a file", os.mkfifo),
    ],
    ids=["absent", "folder", "loop", "dangling", "pipe"],
)
def test_what_is_no_file_is_named(tmp_path: Path, place: str, make: Callable[[Path], None]) -> None:
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    make(tmp_path / "patients.csv")

    refused(tmp_path, place)


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe", b"table", b"a = 1", b"[" * 5000, noise(500), b"[columns]\n"]
)
def test_a_folder_without_a_good_schema_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "schema.toml").write_bytes(content)

    refused(tmp_path, "schema.toml")


def loaded_or_refused(folder: Path) -> None:
    with suppress(DataError):
        datasets.load("clinical", path=folder)
    with suppress(DataError):
        datasets.check("clinical", folder)


@given(st.binary(max_size=400))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as made:
        (Path(made) / "schema.toml").write_text(SCHEMA, encoding="utf-8")
        (Path(made) / "patients.csv").write_bytes(content)
        loaded_or_refused(Path(made))


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_whatever_is_changed_in_a_file_it_is_read_or_refused(
    at: int, put: bytes, taken: int
) -> None:
    with TemporaryDirectory() as made:
        (Path(made) / "schema.toml").write_text(SCHEMA, encoding="utf-8")
        (Path(made) / "patients.csv").write_bytes(GOOD[:at] + put + GOOD[at + taken :])
        loaded_or_refused(Path(made))


@given(st.integers(0, len(SCHEMA) - 1), st.text(max_size=6), st.integers(0, 12))
def test_whatever_is_changed_in_a_schema_it_is_read_or_refused(
    at: int, put: str, taken: int
) -> None:
    with TemporaryDirectory() as made:
        changed = SCHEMA[:at] + put + SCHEMA[at + taken :]
        (Path(made) / "schema.toml").write_text(changed, encoding="utf-8", errors="replace")
        (Path(made) / "patients.csv").write_bytes(GOOD)
        loaded_or_refused(Path(made))
