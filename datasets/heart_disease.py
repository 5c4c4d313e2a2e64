"""Heart disease on angiography at four real hospitals: 920 patients, 1981 to 1987.

A site's folder holds processed.<hospital>.data as UCI gives it: no header, 14 columns, '?' where
missing. Parts are the hospitals; each needs its own file only. '?' is missing, and so is an
implausible value: cholesterol 0 (all of switzerland) and blood pressure 0 mean 'not measured'.

References:
    Janosi, Steinbrunn, Pfisterer and Detrano, Heart Disease, UCI, 1989. CC BY 4.0.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, Feature
from datasets._splits import Division, divide
from datasets._tables import Column, assemble, read_csv, within

NEEDS_PATH = True
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
PARTS = ("all", *HOSPITALS)

_COLUMNS = (
    Column("age"),
    Column("sex", codes=(0, 1)),
    Column("cp", codes=(1, 2, 3, 4)),
    Column("trestbps"),
    Column("chol"),
    Column("fbs", codes=(0, 1)),
    Column("restecg", codes=(0, 1, 2)),
    Column("thalach"),
    Column("exang", codes=(0, 1)),
    Column("oldpeak"),
    Column("slope", codes=(1, 2, 3)),
    Column("ca", codes=(0, 1, 2, 3)),
    Column("thal", codes=(3, 6, 7)),
    Column("num", codes=(0, 1, 2, 3, 4), required=True),
)
# slope (up, flat, down) and thal (normal, fixed, reversible defect) are ordered: they stay numbers.
_MEASURED = (
    Feature(name="age", unit="years", low=18.0, high=110.0),
    Feature(name="sex", kind="binary", low=0.0, high=1.0),
    Feature(name="trestbps", unit="mm Hg", low=40.0, high=300.0),
    Feature(name="chol", unit="mg/dl", low=50.0, high=1000.0),
    Feature(name="fbs", kind="binary", low=0.0, high=1.0),
    Feature(name="thalach", unit="1/min", low=30.0, high=250.0),
    Feature(name="exang", kind="binary", low=0.0, high=1.0),
    Feature(name="oldpeak", unit="mm", low=-10.0, high=10.0),
    Feature(name="slope", low=1.0, high=3.0),
    Feature(name="ca", unit="vessels", low=0.0, high=3.0),
    Feature(name="thal", low=3.0, high=7.0),
)
_CODED = (("cp", (2, 3, 4)), ("restecg", (1, 2)))  # the first code is the one without a column
_FLAGGED = ("trestbps", "chol", "fbs", "thalach", "exang", "oldpeak", "slope", "ca", "thal")
_FEATURES = (
    *_MEASURED,
    *(
        Feature(name=f"{name}_{code}", kind="category", low=0.0, high=1.0)
        for name, codes in _CODED
        for code in codes
    ),
    *(Feature(name=f"{name}_missing", kind="binary", low=0.0, high=1.0) for name in _FLAGGED),
)


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """34 % test, a tenth of the rest for validation, drawn within each hospital.

    Raises:
        DataError: a file is missing, or holds what UCI's does not.
    """
    assert path is not None  # NEEDS_PATH
    tables, divisions, groups = [], [], []
    first = 0
    for number, hospital in enumerate(HOSPITALS):
        if part not in ("all", hospital):
            continue
        table = read_csv(path / f"processed.{hospital}.data", _COLUMNS)
        patients = np.arange(len(table))
        own = divide(
            _labels(table),
            patients,
            test=0.34,
            validation=0.1,
            random=np.random.default_rng([seed, number]),
        )
        tables.append(table)
        divisions.append([rows + first for rows in own])
        groups.append(patients + number * 1_000_000)  # one row a patient, and none at two hospitals
        first += len(table)
    everything = np.concatenate(tables)
    return assemble(
        name="heart_disease",
        part=part,
        features=_FEATURES,
        classes=("no disease", "disease"),
        x=_inputs(everything),
        y=_labels(everything),
        groups=np.concatenate(groups),
        division=Division(*(np.concatenate(split) for split in zip(*divisions, strict=True))),
    )


def _labels(table: NDArray[np.float64]) -> NDArray[np.int32]:
    return (table[:, -1] > 0).astype(np.int32)  # num counts narrowed vessels


def _inputs(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [rows, 25] in the order of the features, NaN where missing."""
    raw = dict(zip((column.name for column in _COLUMNS), table.T, strict=True))
    measured = {f.name: within(raw[f.name], f) for f in _MEASURED}
    coded = [
        np.where(np.isnan(raw[name]), np.nan, raw[name] == code)
        for name, codes in _CODED
        for code in codes
    ]
    flags = [np.isnan(measured[name]).astype(np.float64) for name in _FLAGGED]
    return np.stack([*measured.values(), *coded, *flags], axis=1)
