"""MIMIC-IV's ICU stays as a data set: the first 24 hours, and what became of the patient."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets import DataError, Dataset, Feature, Split, Violation
from datasets._cells import identify
from datasets._mimic_cohort import HOURS, Cohort, cohort
from datasets._mimic_concepts import CONCEPTS, EVENT_TABLES, URINE
from datasets._mimic_events import SUMMARIES, Day, first_day
from datasets._mimic_sites import members
from datasets._mimic_tables import TABLES, VERSIONS, collect, find, parsed, root, scan, violations
from datasets._report import cell
from datasets._splits import Rows, divide

Task = Literal["mortality", "long_stay"]
CLASSES = {"mortality": ("survived", "died"), "long_stay": ("3 days or less", "more than 3 days")}
LONG = 3 * 24 * 60  # minutes
TEST, VALIDATION = 0.2, 0.125  # 70 / 10 / 20 of the patients
_DAILY = (-10_000.0, 50_000.0)  # mL of urine a day; irrigant goes in
_WHO = (
    Feature(name="age", unit="years", low=18.0, high=120.0),
    Feature(name="male", kind="binary", low=0.0, high=1.0),
)


def recognises(path: Path) -> bool:
    """Whether hosp/ and icu/ are in the folder, or below it."""
    try:
        return path.is_dir() and find(root(path), "icu/icustays") is not None
    except DataError:
        return False


def build(*, name: str, task: Task, series: bool, path: Path, part: str, seed: int) -> Dataset:
    """The cohort's first days with the task's labels, as a table or as a series.

    Raises:
        DataError: the files are not what PhysioNet gives.
    """
    folder = root(path)
    found = cohort(folder)
    day = first_day(folder, found)
    who = found.stays.select("age", "male").to_numpy().astype(np.float32)
    x, features = _series(day, who) if series else _table(day, who)
    y = _labels(found, task)
    groups = np.array(
        [identify(str(subject), seed=seed) for subject in found.stays["subject_id"]], dtype=np.int64
    )
    division = divide(y, groups, test=TEST, validation=VALIDATION)
    stays = members(found, part, groups=groups, labels=y, seed=seed)
    mask = ~np.isnan(x)
    x[~mask] = 0  # in place: all of 3.1's hours are 380 MB

    def split(rows: Rows) -> Split:
        own = rows[stays[rows]]
        return Split(x=x[own], mask=mask[own], y=y[own], groups=groups[own])

    return Dataset(
        name=name,
        part=part,
        features=features,
        classes=CLASSES[task],
        train=split(division.train),
        validation=split(division.validation),
        test=split(division.test),
        gives="series" if series else "table",
        identified=True,
    )


def _labels(found: Cohort, task: Task) -> NDArray[np.int32]:
    if task == "mortality":
        return found.stays["died"].to_numpy().astype(np.int32)
    minutes = (found.stays["outtime"] - found.stays["intime"]).dt.total_minutes()
    return (minutes > LONG).to_numpy().astype(np.int32)


def _table(day: Day, who: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    """float32 [stays, features], NaN where missing: who, then five columns a concept."""
    columns, features = [who], list(_WHO)
    for number, concept in enumerate(CONCEPTS):
        low, high = _DAILY if number == URINE else (float(concept.low), float(concept.high))
        kinds = ("sum",) if number == URINE else SUMMARIES
        for place, kind in enumerate(kinds):
            values = day.table[:, number, place].copy()
            values[(values < low) | (values > high)] = np.nan
            columns.append(values[:, None])
            name = f"{concept.name}_{kind}"
            features.append(Feature(name=name, unit=concept.unit, low=low, high=high))
        measured = ~np.isnan(day.table[:, number, :1])
        columns.append(measured.astype(np.float32))
        name = f"{concept.name}_measured"
        features.append(Feature(name=name, kind="binary", low=0.0, high=1.0))
    return np.concatenate(columns, axis=1), tuple(features)


def _series(day: Day, who: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    """float32 [stays, 24, features], NaN where missing; age and sex are the same in every hour."""
    features = tuple(
        Feature(name=c.name, unit=c.unit, low=float(c.low), high=float(c.high)) for c in CONCEPTS
    )
    low, high = (np.array([getattr(c, end) for c in CONCEPTS]) for end in ("low", "high"))
    x = np.empty((len(who), HOURS, len(_WHO) + len(CONCEPTS)), dtype=np.float32)
    x[:, :, : len(_WHO)] = who[:, None, :]
    x[:, :, len(_WHO) :] = day.series
    hours = x[:, :, len(_WHO) :]
    hours[(hours < low) | (hours > high)] = np.nan
    return x, (*_WHO, *features)


def check(path: Path) -> list[Violation]:
    """Tables that are missing or short, and the first row of each column that does not fit.

    Every table is read once; the whole of MIMIC-IV takes minutes for what fits, and longer once
    something does not.

    Raises:
        DataError: the folder is no copy of MIMIC-IV.
    """
    folder = root(path)
    found = []
    for entry in completeness(folder):
        layout = TABLES[entry["table"]]
        file = find(folder, entry["table"])
        if file is None:
            what, remedy = "it is missing", "Download it from PhysioNet."
            blocks = not layout.events
        elif entry["rows"] is None:
            what, remedy = "it cannot be read: it is damaged or not UTF-8", "Download it again."
            whole = Violation(file=f"{entry['table']}.csv", what=what, remedy=remedy)
            found += violations(file, layout) or [whole]
            continue
        elif entry["complete"]:
            continue
        else:
            what = f"it has {entry['rows']:,} rows, which no published version has"
            remedy = "If it should be whole, download it again; a subset is fine."
            blocks = False
        found.append(
            Violation(file=f"{entry['table']}.csv", what=what, remedy=remedy, blocks=blocks)
        )
    if not any(violation.blocks for violation in found):
        try:
            cohort(folder)
        except DataError as error:
            what = str(error).rstrip(".")
            found.append(Violation(file=folder.name, what=what, remedy=error.remedy))
    return found


def completeness(folder: Path) -> list[dict[str, Any]]:
    """Rows of each table against what was published: table, rows, complete, published.

    ``rows`` is None for a table that is missing or cannot be read.
    """
    import polars as pl

    found: list[dict[str, Any]] = []
    for table, layout in TABLES.items():
        file, rows = find(folder, table), None
        if file is not None:
            try:
                frame = parsed(scan(file, layout), layout)
                counts = [pl.len().alias("rows"), *(pl.col(n).null_count() for n in layout.columns)]
                counted = collect(frame.select(counts), file, layout).row(0)
                holes = zip(layout.columns.values(), counted[1:], strict=True)
                torn = any(nulls and not kind.endswith("?") for kind, nulls in holes)
                rows = None if torn else int(counted[0])
            except DataError:
                rows = None
        found.append(
            {
                "table": table,
                "rows": rows,
                "complete": rows in layout.rows,
                "published": dict(zip(VERSIONS, layout.rows, strict=True)),
            }
        )
    return found


def describe(path: Path, *, minimum: int) -> dict[str, Any]:
    """What ``inspect`` shows of MIMIC-IV beside the usual: attrition and events by concept."""
    folder = root(path)
    found = cohort(folder)
    day = first_day(folder, found)
    return {
        "attrition": [
            {
                "rule": loss.rule,
                "stays_out": cell(loss.stays, minimum),
                "stays": cell(loss.left, minimum),
                "patients": cell(loss.patients, minimum),
            }
            for loss in found.attrition
        ],
        "missing_tables": [t for t in EVENT_TABLES if find(folder, t) is None],
        "events": {
            concept.name: {
                "plausible": cell(int(plausible), minimum),
                "implausible": cell(int(out), minimum),
            }
            for concept, plausible, out in zip(CONCEPTS, day.events, day.implausible, strict=True)
        },
    }
