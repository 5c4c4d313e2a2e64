"""A hospital's own table, as its schema.toml describes it: CSV in any dress, or Parquet.

A site's folder holds ``schema.toml`` and what it names. Columns are found by name; the splits are
by patient, drawn by a salted hash, so that the order of the rows decides nothing. Parts are the
sites that the schema names, and 'k/n', n made-up sites. A schema, of which columns, units, ranges
and classes are agreed, and the rest is each site's own::

    table = "patients.csv.gz"             # or .csv or .parquet, beside schema.toml
    patient = "pid"                       # rows of one patient stay together
    missing = ["NA", -9]                  # an empty cell is missing anyway
    excluded = "opted_out.txt"            # one patient a line; never leaves the site
    image = { column = "photo", size = 128 }  # a path from here on; JPEG or PNG
    [label]
    column = "outcome"
    classes = ["alive", "dead"]
    codes = ["no", "yes"]                 # or positive = [2, 3], or above = 0
    [columns]
    age = { called = "ålder", unit = "years", low = 18, high = 110 }
    temperature = { unit = "°C", low = 30, high = 45, flag = true }
    sex = { kind = "binary", codes = ["K", "M"] }
    ward = { kind = "category", codes = ["er", "icu", "other"] }
    admitted = { kind = "date", format = "%Y-%m-%d" }
    operated = { kind = "date", format = "%Y-%m-%d" }
    wait = { since = "admitted", until = "operated", unit = "days", low = 0, high = 365 }
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, Feature, Violation
from datasets._cells import Raw, read_raw, time_between
from datasets._clinical_images import locate, pixels_of, unreadable
from datasets._schema import Schema, read_schema
from datasets._splits import SITES, Division, divide, shared
from datasets._tables import Table, assemble, within
from datasets._units import swapped

NEEDS_PATH = True
GIVES = ("table", "images")  # as the site's schema says, which also names the classes
CLASSES = None
PARTS = ("all", *SITES)

SCHEMA = "schema.toml"
_APART = 1 << 32  # row numbers of one file lie below it: no row is at two sites


class _Own(NamedTuple):
    """One file: its numbers, who they are of, and what is wrong with it."""

    path: Path
    site: int
    raw: Raw
    measured: dict[str, NDArray[np.float64]]


def recognises(path: Path) -> bool:
    """Whether the folder says that it is such a table."""
    return (path / SCHEMA).is_file()


def named_parts(path: Path) -> tuple[str, ...]:
    """The sites that the folder's schema names.

    Raises:
        DataError: the schema is not right.
    """
    return read_schema(path / SCHEMA).sites


def excluded(path: Path) -> Path | None:
    """The list of patients who opted out that the folder's schema names.

    Raises:
        DataError: the schema is not right.
    """
    name = read_schema(path / SCHEMA).excluded
    return path / name if name else None


def read(*, path: Path | None, part: str, seed: int) -> Dataset:
    """The folder's table.

    Raises:
        DataError: the schema or the table is not right; the first mistake is named.
    """
    assert path is not None  # NEEDS_PATH
    schema = read_schema(path / SCHEMA)
    return build(schema, name="clinical", path=path, part=part, seed=seed)


def build(schema: Schema, *, name: str, path: Path, part: str, seed: int) -> Dataset:
    """What ``schema`` makes of the files in ``path``.

    Raises:
        DataError: a file is missing or holds what it should not.
    """
    features = features_of(schema)
    x, y, groups, divisions = [], [], [], []
    files: list[Path] = []
    tables: list[tuple[str, int]] = []
    first = 0
    for own in _files(path, schema, part, seed):
        for violation in own.raw.violations:
            raise violation.error
        for violation in _doubtful_units(own, schema):
            raise violation.error
        known = ~np.isnan(own.raw.labels)
        labels = own.raw.labels[known].astype(np.int32)
        if schema.patient:
            group = own.raw.patients[known]
            division = divide(labels, group, test=schema.test, validation=schema.validation)
        else:
            group = np.flatnonzero(known) + own.site * _APART
            random = np.random.default_rng([seed, own.site])
            division = divide(
                labels, group, test=schema.test, validation=schema.validation, random=random
            )
        if schema.image is not None:
            photos, wrong = locate(path, own.path, schema.image.column, own.raw, known)
            for violation in wrong:
                raise violation.error
            files += photos
            tables += [(own.path.name, row) for row in own.raw.rows[known].tolist()]
        stays = np.ones(len(group), dtype=bool)
        if schema.site and part in schema.sites:
            stays &= own.raw.sites[known] == schema.sites.index(part)
        elif part in SITES:
            stays &= shared(group, part, salt=str(seed))
        divisions.append([rows[stays[rows]] + first for rows in division])
        x.append(_inputs(schema, own.measured)[known])
        y.append(labels)
        groups.append(group)
        first += len(labels)
    division = Division(*(np.concatenate(split) for split in zip(*divisions, strict=True)))
    pixels = None
    if schema.image is not None:
        pixels, once = pixels_of(files, tables, schema.image.column, size=schema.image.size)
        division = Division(*(split[once[split]] for split in division))
    return assemble(
        name=name,
        part=part,
        features=features,
        classes=schema.label.classes,
        x=np.concatenate(x),
        y=np.concatenate(y),
        groups=np.concatenate(groups),
        division=division,
        pixels=pixels,
        identified=bool(schema.patient),
    )


def check(path: Path) -> list[Violation]:
    """Everything that is wrong with the folder's table.

    Violations that do not block are values outside their plausible range, which count as not
    measured, and columns without any value.

    Raises:
        DataError: the schema, or the file as a whole, cannot be read.
    """
    return violations(read_schema(path / SCHEMA), path, "all")


def violations(schema: Schema, path: Path, part: str) -> list[Violation]:
    """Like ``check``, of a schema at hand."""
    found = []
    for own in _files(path, schema, part, seed=0):
        found += [*own.raw.violations, *_doubtful_units(own, schema)]
        if schema.image is not None:
            found += _photos(own, path, schema.image.column)
        if own.raw.hidden:
            what = f"{own.raw.hidden:,} more cells do not fit for the same reasons"
            found.append(Violation(file=own.path.name, what=what, remedy="Mend the first ones."))
        for name, values in own.measured.items():
            raw = _raw_of(own.raw, schema, name)
            column = schema.columns[name].called or name
            if np.isnan(raw).all():
                what, remedy = "it has no value in any row", "Check the export; it trains as it is."
                found.append(_warning(own, what, remedy, column))
            elif np.isnan(values).all():
                what = "all its values lie outside the plausible range"
                found.append(_warning(own, what, "Check its unit and its low and high.", column))
            for row in np.flatnonzero(~np.isnan(raw) & np.isnan(values))[:100]:
                what, remedy = "outside the plausible range", "It will count as not measured."
                found.append(_warning(own, what, remedy, column, int(own.raw.rows[row])))
        if len(np.unique(own.raw.labels[~np.isnan(own.raw.labels)])) == 1:
            what, remedy = "all rows have one class", "It trains, but AUROC is not defined here."
            found.append(_warning(own, what, remedy, schema.label.column))
    return found


def _photos(own: _Own, path: Path, column: str) -> list[Violation]:
    """Images that are not there or cannot be read, of the rows that have a label."""
    known = ~np.isnan(own.raw.labels)
    files, found = locate(path, own.path, column, own.raw, known)
    return found or unreadable(files, own.path, column, own.raw.rows[known])


def _warning(own: _Own, what: str, remedy: str, column: str, row: int | None = None) -> Violation:
    return Violation(
        file=own.path.name, row=row, column=column, what=what, remedy=remedy, blocks=False
    )


def features_of(schema: Schema) -> tuple[Feature, ...]:
    """The columns of ``x``: numbers and binaries, then each category's codes, then flags."""
    measured = [
        Feature(name=name, kind="binary", low=0.0, high=1.0)
        if column.kind == "binary"
        else Feature(name=name, unit=column.unit, low=column.low, high=column.high)
        for name, column in schema.columns.items()
        if column.kind in ("number", "binary")
    ]
    coded = [
        Feature(name=f"{name}_{_code(code)}", kind="category", low=0.0, high=1.0)
        for name, column in schema.columns.items()
        if column.kind == "category"
        for code in column.codes[1:]
    ]
    flags = [
        Feature(name=f"{name}_missing", kind="binary", low=0.0, high=1.0)
        for name, column in schema.columns.items()
        if column.flag
    ]
    return (*measured, *coded, *flags)


def _code(code: str | float) -> str:
    return code if isinstance(code, str) else f"{code:g}"


def _inputs(schema: Schema, measured: dict[str, NDArray[np.float64]]) -> Table:
    """float64 [rows, features] in the order of ``features_of``, NaN where missing."""
    columns = schema.columns
    plain = [v for n, v in measured.items() if columns[n].kind != "category"]
    coded = [
        np.where(np.isnan(values), np.nan, values == place)
        for name, values in measured.items()
        if columns[name].kind == "category"
        for place in range(1, len(columns[name].codes))
    ]
    flags = [np.isnan(v).astype(np.float64) for n, v in measured.items() if columns[n].flag]
    return np.stack([*plain, *coded, *flags], axis=1)


def _raw_of(raw: Raw, schema: Schema, name: str) -> NDArray[np.float64]:
    column = schema.columns[name]
    return time_between(raw, column) if column.since else raw.values[name]


def _files(path: Path, schema: Schema, part: str, seed: int) -> list[_Own]:
    """Every file that ``part`` needs, read; values outside their range are NaN in ``measured``."""
    found = []
    for site, name in enumerate(schema.sites if "{site}" in schema.table else ("",)):
        if name and part in schema.sites and part != name:
            continue
        file = path / schema.table.replace("{site}", name)
        raw = read_raw(file, schema, seed=seed)
        measured = {
            name: within(
                _raw_of(raw, schema, name), Feature(name=name, low=column.low, high=column.high)
            )
            for name, column in schema.columns.items()
            if column.kind != "date"
        }
        found.append(_Own(file, site, raw, measured))
    return found


def _doubtful_units(own: _Own, schema: Schema) -> list[Violation]:
    found = []
    for feature in features_of(schema):
        column = schema.columns.get(feature.name)
        if column is None or column.kind != "number" or column.sure:
            continue
        if unit := swapped(feature, _raw_of(own.raw, schema, feature.name)):
            found.append(
                Violation(
                    file=own.path.name,
                    column=column.called or feature.name,
                    what=f"its values look like {unit}, and {feature.unit} is agreed",
                    remedy="Convert it, or say sure = true for the column if it is right.",
                )
            )
    return found
