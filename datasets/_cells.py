"""From cells to numbers: every row that does not fit is named by file, row and column."""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Violation
from datasets._files import Rows, open_rows
from datasets._schema import Code, Column, Schema

SHOWN = 100  # violations kept one by one of a kind; more are counted
_CHUNK = 4096  # rows held as text at a time
_KNOWN = 1 << 14  # different cells of a column whose meaning is kept
_SAMPLE = 1000  # rows that decide between decimal point and comma
_DAY = 86_400.0  # seconds
_UNIT = {"hours": 3600.0, "days": _DAY, "years": 365.25 * _DAY}  # seconds


_Line = tuple[int, list[str]]  # a row's number and its cells


class Raw(NamedTuple):
    """A table's columns as numbers, in the order of its rows.

    Attributes:
        values: By our name of the column, float64 [rows], NaN where missing; codes of text are
            their place among the column's codes, dates are seconds since 1970.
        labels: float64 [rows], the index of the class; NaN where missing.
        patients: int64 [rows], a salted hash of the patient's id; all 0 without a patient column.
        sites: int64 [rows], the index in the schema's sites; all 0 without a site column.
        rows: int64 [rows], the row's number in the file.
        images: The cells of the image column; none without one.
        violations: By row; at most SHOWN of a kind.
        hidden: Violations that were counted only.
    """

    values: dict[str, NDArray[np.float64]]
    labels: NDArray[np.float64]
    patients: NDArray[np.int64]
    sites: NDArray[np.int64]
    rows: NDArray[np.int64]
    images: tuple[str, ...]
    violations: tuple[Violation, ...]
    hidden: int


class _Log:
    """Violations of one file, few of each kind."""

    def __init__(self, file: str) -> None:
        self.file, self.kept, self.hidden = file, list[Violation](), 0
        self._seen: dict[tuple[str, str], int] = {}

    def add(self, row: int, column: str, what: str, remedy: str) -> None:
        seen = self._seen[column, what] = self._seen.get((column, what), 0) + 1
        if seen > SHOWN:
            self.hidden += 1
            return
        self.kept.append(
            Violation(file=self.file, row=row, column=column, what=what, remedy=remedy)
        )


def identify(patient: str, *, seed: int) -> int:
    """A patient's number, int64: the same wherever id and seed are.

    It stays at the site like the id itself: whoever knows the seed can try ids out.
    """
    digest = hashlib.blake2b(f"{seed}:{patient}".encode(), digest_size=8, person=b"fedtui-patient")
    return int.from_bytes(digest.digest(), "big", signed=True)


def read_raw(path: Path, schema: Schema, *, seed: int) -> Raw:
    """The table in ``path``; what does not fit becomes NaN and a violation.

    Raises:
        DataError: the file cannot be read as a table with the wanted columns at all.
    """
    rows = open_rows(
        path,
        schema.wanted,
        order=schema.order,
        delimiter=schema.delimiter,
        encoding=schema.encoding,
    )
    log = _Log(path.name)
    # cells repeat: what one of them means is found out once
    readers = {header: lru_cache(_KNOWN)(reader) for header, reader in _readers(schema).items()}
    places = {header: rows.header.index(header) for header in schema.wanted}
    pointed = {schema.label.column} | {
        header for header, name in schema.headers.items() if schema.columns[name].kind == "number"
    }
    width = len(rows.header)
    patients: list[int] = []
    nobody = _Missing(schema.missing)
    found: dict[str, list[NDArray[np.float64]]] = {header: [] for header in readers}
    numbers: list[int] = []
    images: list[str] = []
    comma: bool | None = {"": None, ",": True, ".": False}[schema.decimal]
    for chunk in _chunks(rows):
        whole = _whole(chunk, width, log)
        if comma is None and whole:
            comma = _decimal_comma(path, schema, places, whole)
        numbers += [number for number, _ in whole]
        if schema.image is not None:
            images += [cells[places[schema.image.column]] for _, cells in whole]
        for number, cells in whole if schema.patient else ():
            patients.append(identify(cells[places[schema.patient]], seed=seed))
            if nobody(cells[places[schema.patient]]):
                log.add(number, schema.patient, "it is missing", "Rows are split by patient.")
        for header, reader in readers.items():
            column = [cells[places[header]] for _, cells in whole]
            if comma and header in pointed:
                column = [cell.replace(",", ".") for cell in column]
            read = [reader(cell) for cell in column]
            for (number, _), (_, problem) in zip(whole, read, strict=True):
                if problem:
                    log.add(number, header, *problem)
            values = np.array([value for value, _ in read], dtype=np.float64)
            found[header].append(values)
    if not numbers and not log.kept:
        raise DataError(
            f"{path.name} is empty: it has no row below the header.", remedy="Copy it again."
        )
    joined = {header: np.concatenate(parts or [np.empty(0)]) for header, parts in found.items()}
    none = np.zeros(len(numbers), dtype=np.int64)
    return Raw(
        values={name: joined[header] for header, name in schema.headers.items()},
        labels=joined[schema.label.column],
        patients=np.array(patients, dtype=np.int64) if schema.patient else none,
        sites=np.nan_to_num(joined[schema.site]).astype(np.int64) if schema.site else none,
        rows=np.array(numbers, dtype=np.int64),
        images=tuple(images),
        violations=tuple(sorted(log.kept, key=lambda violation: violation.row or 0)),
        hidden=log.hidden,
    )


def _whole(chunk: list[_Line], width: int, log: _Log) -> list[_Line]:
    """The rows with a cell for every column."""
    remedy = "Look for a delimiter inside a cell without quotation marks, or a lost cell."
    for number, cells in chunk:
        if len(cells) != width:
            log.add(number, "", f"{len(cells)} columns instead of {width}", remedy)
    return [line for line in chunk if len(line[1]) == width]


def _chunks(rows: Rows) -> Iterable[list[_Line]]:
    while chunk := list(islice(rows.cells, _CHUNK)):
        yield chunk


_Problem = tuple[str, str] | None
_Reader = Callable[[str], tuple[float, _Problem]]
_GOOD: _Problem = None


def _readers(schema: Schema) -> dict[str, _Reader]:
    """How each wanted column's cells become numbers, by header."""
    readers = {
        header: _reader(schema.columns[name], schema) for header, name in schema.headers.items()
    }
    label = schema.label
    codes = label.codes or label.positive
    if label.codes and not label.positive and label.above is None:
        index = {code: float(place) for place, code in enumerate(codes)}
    elif label.positive:
        index = {code: float(code in label.positive) for code in codes}
    else:
        index = {code: float(code > (label.above or 0.0)) for code in codes}  # type: ignore[operator]
    empty = _Missing((*schema.missing, *label.missing))
    decide = _coded(index) if codes else _number
    if label.positive and not label.codes:
        decide = _any_code(index)

    def labelled(cell: str) -> tuple[float, _Problem]:
        if empty(cell):
            problem = ("it is missing", "Leave out rows without it, or say drop_missing = true.")
            return math.nan, _GOOD if label.drop_missing else problem
        value, problem_ = decide(cell)
        if problem_ is None and label.above is not None and not codes:
            value = float(value > label.above)
        return value, problem_

    readers[label.column] = labelled
    if schema.site:
        readers[schema.site] = _coded({site: float(n) for n, site in enumerate(schema.sites)})
    return readers


def _reader(column: Column, schema: Schema) -> _Reader:
    empty = _Missing((*schema.missing, *column.missing), blank=schema.blank)
    codes = column.codes or ((0.0, 1.0) if column.kind == "binary" else ())
    if column.kind == "date":
        convert = _date(column.format)
    elif codes and column.kind == "number":
        convert = _coded({code: float(code) for code in codes})
    elif codes:
        convert = _coded({code: float(place) for place, code in enumerate(codes)})
    else:
        convert = _number

    def read(cell: str) -> tuple[float, _Problem]:
        return (math.nan, _GOOD) if empty(cell) else convert(cell)

    return read


class _Missing:
    """Whether a cell means 'not measured': one of the codes, as text or as a number."""

    def __init__(self, codes: Sequence[Code], *, blank: bool = True) -> None:
        self._texts = {code for code in codes if isinstance(code, str)} | ({""} if blank else set())
        self._numbers = {float(code) for code in codes if not isinstance(code, str)}

    def __call__(self, cell: str) -> bool:
        return cell in self._texts or (bool(self._numbers) and _float(cell) in self._numbers)


def _float(cell: str) -> float:
    """The number that ``cell`` is, NaN if it is none; Python's 1_000, inf and nan are none."""
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if abs(number) < 1e300 and "_" not in cell else math.nan


def _number(cell: str) -> tuple[float, _Problem]:
    number = _float(cell)
    if math.isnan(number):
        hint = "It is a formula: save its result." if cell[:1] in "=#@" else ""
        return number, ("not a number", hint or "Correct it, or declare its code for missing.")
    if abs(number) > 1e30:  # a float32 holds 3e38, its square must be summed too
        return math.nan, ("not a number that can be meant: too large", "Correct it.")
    return number, _GOOD


def _coded(index: dict[Code, float]) -> _Reader:
    known = ", ".join(f"{code:g}" if isinstance(code, float) else str(code) for code in index)
    problem = ("not one of its codes", f"They are {known}.")
    text = any(isinstance(code, str) for code in index)

    def read(cell: str) -> tuple[float, _Problem]:
        value = index.get(cell if text else _float(cell))
        return (math.nan, problem) if value is None else (value, _GOOD)

    return read


def _any_code(index: dict[Code, float]) -> _Reader:
    """1 for the positive codes, 0 for whatever else is written."""
    text = any(isinstance(code, str) for code in index)

    def read(cell: str) -> tuple[float, _Problem]:
        if not text and math.isnan(_float(cell)):
            return _number(cell)
        return index.get(cell if text else _float(cell), 0.0), _GOOD

    return read


def _date(form: str) -> _Reader:
    def read(cell: str) -> tuple[float, _Problem]:
        try:
            moment = datetime.strptime(cell, form)
        except ValueError:
            return math.nan, (f"not a date written as {form}", "Correct it, or change format.")
        return (moment - datetime(1970, 1, 1)).total_seconds(), _GOOD

    return read


def _decimal_comma(path: Path, schema: Schema, places: dict[str, int], rows: list[_Line]) -> bool:
    """Whether numbers are written 36,6; asked where the file leaves it open."""
    cells = [
        (number, header, row[places[header]])
        for number, row in rows[:_SAMPLE]
        for header, name in schema.headers.items()
        if schema.columns[name].kind == "number"
    ]
    commas = [c for c in cells if re.fullmatch(r"[+-]?\d+,\d+", c[2])]
    if not commas:
        return False
    if all(re.fullmatch(r"[+-]?\d{1,3},\d{3}", cell) for _, _, cell in commas):
        number, header, _ = commas[0]
        raise DataError(
            f"{path.name}, row {number}, column {header}: a comma before three digits may mark "
            "thousands or decimals.",
            remedy="Say decimal = ',' in schema.toml if it marks decimals, else remove it.",
        )
    if any(re.fullmatch(r"[+-]?\d+\.\d+", cell) for _, _, cell in cells):
        number, header, _ = commas[0]
        raise DataError(
            f"{path.name}, row {number}, column {header}: a decimal comma, and elsewhere points.",
            remedy="Write all numbers alike.",
        )
    return True


def time_between(raw: Raw, column: Column) -> NDArray[np.float64]:
    """``until`` minus ``since`` in the column's unit, float64 [rows]; NaN where either is."""
    return (raw.values[column.until] - raw.values[column.since]) / _UNIT[column.unit]
