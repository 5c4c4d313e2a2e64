"""Which ICU stays of MIMIC-IV take part, and how many each rule leaves out."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasets import DataError
from datasets._mimic_tables import TABLES, Layout, blame, collect, need, parsed, scan

if TYPE_CHECKING:
    import polars as pl

HOURS = 24  # observed of each stay
ADULT = 18  # years
OLDEST = 91  # years; MIMIC-IV writes it for everybody above 89


class Loss(NamedTuple):
    """What one rule left out.

    Attributes:
        rule: As a clause.
        stays: Left out by it; those that an earlier rule took are not counted again.
        left: Stays that are left after it.
        patients: Patients that are left after it.
    """

    rule: str
    stays: int
    left: int
    patients: int


class Cohort(NamedTuple):
    """The stays that take part.

    Attributes:
        stays: One row a stay, by stay_id: stay_id, subject_id, intime and outtime, care_unit, age
            in years, male, died, year_group.
        attrition: One entry a rule, in the order in which they were applied.
    """

    stays: "pl.DataFrame"
    attrition: tuple[Loss, ...]


def cohort(folder: Path) -> Cohort:
    """The stays of 24 hours or more of adults who lived through these hours.

    The end of a stay is icustays.outtime: dischtime is earlier in 16 % of the demo's stays. Who
    died is hospital_expire_flag: dod goes on after discharge. Several stays of a patient stay in,
    and the splits are by patient.

    Raises:
        DataError: a file is missing or broken.
    """
    import polars as pl

    patients = _read(folder, "hosp/patients", key="subject_id")
    admissions = _read(folder, "hosp/admissions", key="hadm_id")
    stays = _read(folder, "icu/icustays", key="")
    rows = stays.join(
        patients.select("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group"),
        on="subject_id",
        how="left",
    ).join(
        admissions.select("hadm_id", "admittime", "deathtime", "hospital_expire_flag"),
        on="hadm_id",
        how="left",
    )
    rows = rows.with_columns(
        age=pl.min_horizontal(
            pl.col("anchor_age") + pl.col("admittime").dt.year() - pl.col("anchor_year"),
            pl.lit(OLDEST),
        ),
    ).sort("stay_id", "intime", "outtime")
    day = pl.duration(hours=HOURS)
    rules = (
        ("the stay is there twice", pl.col("stay_id").is_first_distinct()),
        (
            "patient or admission is unknown",
            pl.col("anchor_age").is_not_null() & pl.col("admittime").is_not_null(),
        ),
        ("it has no end, or ends before it begins", pl.col("outtime") > pl.col("intime")),
        (f"the patient is younger than {ADULT}", pl.col("age") >= ADULT),
        (f"it is shorter than {HOURS} hours", pl.col("outtime") >= pl.col("intime") + day),
        (
            f"the patient died within {HOURS} hours",
            pl.col("deathtime").is_null() | (pl.col("deathtime") >= pl.col("intime") + day),
        ),
    )
    attrition = []
    for rule, keeps in rules:
        left = rows.filter(keeps.fill_null(value=False))
        lost, people = len(rows) - len(left), left["subject_id"].n_unique()
        attrition.append(Loss(rule, lost, len(left), people))
        rows = left
    return Cohort(
        rows.select(
            "stay_id",
            "subject_id",
            "intime",
            "outtime",
            pl.col("first_careunit").alias("care_unit"),
            "age",
            (pl.col("gender") == "M").alias("male"),
            (pl.col("hospital_expire_flag") == 1).alias("died"),
            pl.col("anchor_year_group").alias("year_group"),
        ).sort("stay_id"),
        tuple(attrition),
    )


def _read(folder: Path, table: str, *, key: str) -> "pl.DataFrame":
    """A small table with its times parsed; ``key`` must be there once in each row."""
    file, layout = need(folder, table), TABLES[table]
    read = collect(parsed(scan(file, layout), layout), file, layout)
    _complete(read, file, layout)
    if key and read[key].n_unique() < len(read):
        row = int(read[key].is_duplicated().arg_true()[0]) + 2
        raise DataError(
            f"{file.name}, row {row}, column {key}: it is there more than once.",
            remedy="Download it from PhysioNet again; do not join files.",
        )
    if not len(read):
        raise DataError(f"{file.name} is empty.", remedy="Download it from PhysioNet again.")
    return read


def _complete(frame: "pl.DataFrame", file: Path, layout: Layout) -> None:
    """Raises DataError where a column that must be filled is not: polars pads a torn row."""
    for name, kind in layout.columns.items():
        if not kind.endswith("?") and frame[name].null_count():
            raise blame(file, layout)
