"""MIMIC-IV's files as PhysioNet gives them: found, opened by column name, blamed by row.

References:
    Johnson et al., MIMIC-IV, a freely accessible electronic health record dataset, 2023; row
    counts: mimic-code, mimic-iv/buildmimic/*/validate.sql at 5dc61171 (2.2) and 865aee88 (3.1).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import DataError, Violation
from datasets._files import open_rows

if TYPE_CHECKING:
    import polars as pl

TIME = "%Y-%m-%d %H:%M:%S"
VERSIONS = ("2.2", "3.1", "2.2 demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table, the columns that we need of it, and how complete a copy is.

    Attributes:
        columns: 'int', 'float', 'time', 'text' or, where it may be empty, the same with '?'.
        rows: As published for VERSIONS.
        events: Rows of measurements; a copy without them loads, with less in it.
    """

    columns: dict[str, str]
    rows: tuple[int, int, int]
    events: bool = False


TABLES = {
    "hosp/patients": Layout(
        columns={
            "subject_id": "int",
            "gender": "text",
            "anchor_age": "int",
            "anchor_year": "int",
            "anchor_year_group": "text",
        },
        rows=(299_712, 364_627, 100),
    ),
    "hosp/admissions": Layout(
        columns={
            "subject_id": "int",
            "hadm_id": "int",
            "admittime": "time",
            "deathtime": "time?",
            "hospital_expire_flag": "int",
        },
        rows=(431_231, 546_028, 275),
    ),
    "icu/icustays": Layout(
        columns={
            "subject_id": "int",
            "hadm_id": "int",
            "stay_id": "int",
            "first_careunit": "text",
            "intime": "time",
            "outtime": "time?",
        },
        rows=(73_181, 94_458, 140),
    ),
    "icu/chartevents": Layout(
        columns={
            "stay_id": "int?",
            "charttime": "time",
            "storetime": "time?",
            "itemid": "int",
            "value": "text?",
            "valuenum": "float?",
        },
        rows=(313_645_063, 432_997_491, 668_862),
        events=True,
    ),
    "hosp/labevents": Layout(
        columns={
            "subject_id": "int",
            "charttime": "time",
            "storetime": "time?",
            "itemid": "int",
            "valuenum": "float?",
        },
        rows=(118_171_367, 158_374_764, 107_727),
        events=True,
    ),
    "icu/outputevents": Layout(
        columns={
            "stay_id": "int?",
            "charttime": "time",
            "storetime": "time?",
            "itemid": "int",
            "value": "float?",
        },
        rows=(4_234_967, 5_359_395, 9_362),
        events=True,
    ),
    # Not read, but part of a whole copy; their rows tell whether it is one.
    "icu/d_items": Layout(columns={"itemid": "int"}, rows=(4_014, 4_095, 4_014), events=True),
    "hosp/d_labitems": Layout(columns={"itemid": "int"}, rows=(1_622, 1_650, 1_622), events=True),
    "hosp/diagnoses_icd": Layout(
        # icd_code is text: both versions have leading zeros
        columns={"subject_id": "int", "icd_code": "text", "icd_version": "int"},
        rows=(4_756_326, 6_364_488, 4_506),
        events=True,
    ),
}


def root(path: Path) -> Path:
    """The folder that holds hosp/ and icu/: ``path``, or the only one some levels below.

    Raises:
        DataError: there is none, or more than one.
    """
    if not path.is_dir():
        raise DataError(
            f"There is no folder {path}.", remedy="Point it at the folder with hosp/ and icu/."
        )
    level = [path]
    for _ in range(6):  # wget -r puts it under physionet.org/files/mimiciv/3.1
        found = [p for p in level if (p / "hosp").is_dir() and (p / "icu").is_dir()]
        if len(found) > 1:
            raise DataError(
                f"{path} holds several copies: {', '.join(p.name for p in found)}.",
                remedy="Point at one of them.",
            )
        if found:
            return found[0]
        if old := next((p for p in level if (p / "core").is_dir()), None):
            raise DataError(
                f"{old} is MIMIC-IV 1.0, which has a folder core/.",
                remedy="Download version 2.2 or 3.1.",
            )
        level = sorted(child for p in level for child in p.iterdir() if child.is_dir())[:1000]
    raise DataError(
        f"{path} has no folders hosp/ and icu/.",
        remedy="Point it at MIMIC-IV as PhysioNet gives it.",
    )


def find(folder: Path, table: str) -> Path | None:
    """The table's file, unpacked or not; None if it is not there."""
    files = (folder / f"{table}.csv", folder / f"{table}.csv.gz")
    return next((file for file in files if file.is_file()), None)


def need(folder: Path, table: str) -> Path:
    """Like ``find``. Raises DataError if the file is not there."""
    file = find(folder, table)
    if file is None:
        raise DataError(
            f"{table}.csv.gz is missing in {folder}.", remedy="Download it from PhysioNet again."
        )
    return file


def scan(file: Path, layout: Layout) -> "pl.LazyFrame":
    """The columns of ``layout``, ids as Int32, times still as text, everything else as text.

    Raises:
        DataError: a column is missing or twice, or it is no table.
    """
    import polars as pl

    open_rows(file, tuple(layout.columns), delimiter=",", encoding="utf-8")
    kinds = {"int": pl.Int32, "float": pl.Float64}
    overrides: dict[str, Any] = {
        name: kinds[kind.rstrip("?")]
        for name, kind in layout.columns.items()
        if kind.rstrip("?") in kinds
    }
    frame = pl.scan_csv(file, infer_schema=False, schema_overrides=overrides)
    return frame.select(list(layout.columns))


def parsed(frame: "pl.LazyFrame", layout: Layout) -> "pl.LazyFrame":
    """``scan``'s columns with times as Datetime; a cell that is none fails when it is collected."""
    import polars as pl

    times = [name for name, kind in layout.columns.items() if kind.startswith("time")]
    return frame.with_columns(pl.col(name).str.to_datetime(TIME, strict=True) for name in times)


def collect(frame: "pl.LazyFrame", file: Path, layout: Layout) -> "pl.DataFrame":
    """``frame``, made from ``scan(file, layout)``, computed in pieces.

    Raises:
        DataError: naming the first row and column that are not what they should be.
    """
    import polars as pl

    with suppress(pl.exceptions.PolarsError, OSError):  # not chained: polars quotes the cell
        return frame.collect(engine="streaming")
    raise blame(file, layout)


def blame(file: Path, layout: Layout) -> DataError:
    """Where ``file`` first breaks its layout: slow, and only used once something went wrong."""
    try:
        for violation in violations(file, layout):
            return violation.error
    except DataError as error:
        return error
    return DataError(
        f"{file.name} cannot be read: it is damaged or not UTF-8.",
        remedy="Compare its SHA256 sum with PhysioNet's, and download it again.",
    )


def violations(file: Path, layout: Layout) -> list[Violation]:
    """The first row of each column that is not what it should be, by Python's own means.

    Raises:
        DataError: the file cannot be read as a table.
    """
    rows = open_rows(file, tuple(layout.columns), delimiter=",", encoding="utf-8")
    places = [(rows.header.index(name), name, kind) for name, kind in layout.columns.items()]
    remedy = "Download it from PhysioNet again; do not edit it."
    found: dict[str, Violation] = {}
    for number, cells in rows.cells:
        if len(cells) != len(rows.header):
            what = f"{len(cells)} columns instead of {len(rows.header)}"
            found.setdefault("", Violation(file=file.name, row=number, what=what, remedy=remedy))
            continue
        for place, name, kind in places:
            if name not in found and (what := _wrong(cells[place], kind)):
                found[name] = Violation(
                    file=file.name, row=number, column=name, what=what, remedy=remedy
                )
    return sorted(found.values(), key=lambda violation: violation.row or 0)


def _wrong(cell: str, kind: str) -> str:
    if not cell:
        return "" if kind.endswith("?") else "it is missing"
    try:
        if kind.startswith("int"):
            if not -(2**31) <= int(cell) < 2**31:
                return "not an id"
        elif kind.startswith("float"):
            float(cell)
        elif kind.startswith("time"):
            datetime.strptime(cell, TIME)
    except ValueError:
        return {"i": "not a whole number", "f": "not a number", "t": "not a time"}[kind[0]]
    return ""
