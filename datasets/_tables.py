"""Numbers in a table, and how they become a data set."""

import csv
import importlib.util
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Dataset, Feature, Split
from datasets._splits import Division, Rows

Table = NDArray[np.float64]


class Column(NamedTuple):
    """What a column of a file may hold beside nothing.

    Attributes:
        codes: The only values; without them, any finite number.
        required: Whether it must not be missing.
    """

    name: str
    codes: tuple[int, ...] = ()
    required: bool = False


def read_csv(path: Path, columns: tuple[Column, ...], *, missing: str = "?") -> Table:
    """A file of numbers without a header, float64 [rows, columns], NaN where missing.

    Raises:
        DataError: the file, a row or a cell is not what it should be. The message says where and
            never quotes a cell.
    """
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    rows.append(
                        _row(cells, columns, missing, f"{path.name}, row {reader.line_num}")
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cause = (
            getattr(error, "strerror", None) or "it is not a text file of comma-separated values"
        )
        raise DataError(
            f"{path.name} cannot be read: {cause}.",
            remedy=f"Put it into the folder {path.parent}, readable by this account.",
        ) from error
    if not rows:
        raise DataError(f"{path.name} is empty.", remedy="Copy it again; every row is one patient.")
    return np.array(rows)


def _row(cells: list[str], columns: tuple[Column, ...], missing: str, where: str) -> list[float]:
    if len(cells) != len(columns):
        raise DataError(
            f"{where}: {len(cells)} columns instead of {len(columns)}.",
            remedy=f"The columns are {', '.join(column.name for column in columns)}.",
        )
    return [
        _cell(cell.strip(), column, missing, f"{where}, column {column.name}")
        for cell, column in zip(cells, columns, strict=True)
    ]


def _cell(cell: str, column: Column, missing: str, where: str) -> float:
    if cell == missing:
        if column.required:
            raise DataError(f"{where}: it is missing.", remedy="Leave out rows without it.")
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: not a number.", remedy=f"Write {missing} where it is missing.")
    if column.codes and number not in column.codes:
        raise DataError(
            f"{where}: not one of its codes.",
            remedy=f"They are {', '.join(map(str, column.codes))}; {missing} is missing.",
        )
    return number


def within(values: Table, feature: Feature) -> Table:
    """``values`` with NaN where they are implausible, outside the feature's agreed range."""
    low = -math.inf if feature.low is None else feature.low
    high = math.inf if feature.high is None else feature.high
    return np.where((values >= low) & (values <= high), values, math.nan)


def assemble(
    *,
    name: str,
    part: str,
    features: tuple[Feature, ...],
    classes: tuple[str, ...],
    x: Table,
    y: NDArray[np.int32],
    groups: NDArray[np.int64],
    division: Division,
) -> Dataset:
    """The rows of ``division`` as a data set; an implausible value is missing.

    ``x`` is float64 [rows, features] in the features' units, NaN where missing; ``y`` int32 [rows]
    the index in ``classes``; ``groups`` int64 [rows] the patient.
    """
    plausible = np.stack([within(v, f) for v, f in zip(x.T, features, strict=True)], axis=1)
    mask = ~np.isnan(plausible)
    known = np.where(mask, plausible, 0.0).astype(np.float32)

    def split(rows: Rows) -> Split:
        return Split(x=known[rows], mask=mask[rows], y=y[rows], groups=groups[rows])

    return Dataset(
        name=name,
        part=part,
        features=features,
        classes=classes,
        train=split(division.train),
        validation=split(division.validation),
        test=split(division.test),
    )


def bundled(file: str, *, skip: int = 0) -> Table:
    """A csv that scikit-learn ships, float64 [rows, columns]; ``skip`` lines come first.

    Only the folder is looked up: importing scikit-learn takes 3 s.

    Raises:
        DataError: scikit-learn, or the file in it, is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], "datasets", "data", file) if folders else None
    if path is None or not path.is_file():
        raise DataError(
            f"{file} is missing: scikit-learn brings it.",
            remedy="Install scikit-learn in fedtui's environment again.",
        )
    return np.loadtxt(path, delimiter=",", skiprows=skip, dtype=np.float64, ndmin=2)
