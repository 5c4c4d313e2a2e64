"""The first day of every stay, out of hundreds of millions of rows, in little memory.

Each table of events is streamed once; what belongs to the cohort and the concepts is kept in the
cache (a table that is done is not read again after an interruption), and then folded stay by stay.
Means are sums of whole 1/10,000, so that the order in which threads meet rows changes no bit.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import DataError
from datasets._cache import kept, place
from datasets._mimic_cohort import HOURS, Cohort
from datasets._mimic_concepts import CONCEPTS, EVENT_TABLES, INTUBATED, URINE, VERBAL
from datasets._mimic_tables import TABLES, TIME, blame, find, need, scan
from datasets._progress import report
from datasets._streaming import sink

if TYPE_CHECKING:
    import polars as pl

BEFORE = 6  # hours before the stay that count: what mimic-code's first_day_* takes
SUMMARIES = ("min", "mean", "max", "last")
_SHARD = 8192  # stays folded at a time
_READING = 0.9  # of the time; the rest folds
_GRAIN = 10_000  # parts of a unit that values are rounded to
_CODE = ("_mimic_cohort", "_mimic_concepts", "_mimic_events", "_mimic_tables", "_streaming")


class Day(NamedTuple):
    """The first 24 hours of the cohort's stays, in its order, mapped. NaN where not measured.

    Attributes:
        table: float32 [stays, concepts, 4], the day's min, mean, max and last; urine has its sum
            in all four.
        series: float32 [stays, 24, concepts], each hour's mean, urine's sum; the six hours before
            the stay count to its first.
        implausible: int64 [concepts], rows that lay outside the concept's range.
        events: int64 [concepts], rows inside it, without duplicates.
    """

    table: NDArray[np.float32]
    series: NDArray[np.float32]
    implausible: NDArray[np.int64]
    events: NDArray[np.int64]


def first_day(folder: Path, cohort: Cohort) -> Day:
    """What was measured in the cohort's first days, from the cache where it has been read before.

    Raises:
        DataError: there is no table of events at all, or one is broken.
    """
    tables = [table for table in EVENT_TABLES if find(folder, table) is not None]
    if not tables:
        raise DataError(
            f"None of {', '.join(f'{table}.csv.gz' for table in EVENT_TABLES)} is in {folder}.",
            remedy="Download them from PhysioNet; chartevents matters most.",
        )
    small = ("hosp/patients", "hosp/admissions", "icu/icustays")
    files = [need(folder, table) for table in (*small, *tables)]
    cache = place("mimic_iv", sources=files, code=_CODE, schema=[c._asdict() for c in CONCEPTS])
    finished = {name: cache / f"{name}.npy" for name in Day._fields}
    if not all(file.exists() for file in finished.values()):
        parts = []
        sizes = np.cumsum([0, *(need(folder, table).stat().st_size for table in tables)])
        for number, table in enumerate(tables):
            first, last = (float(_READING * s / sizes[-1]) for s in sizes[number : number + 2])
            report(table, first)
            part = cache / f"{table.replace('/', '_')}.parquet"
            parts.append(
                kept(
                    part,
                    partial(_extract, folder, table, cohort, partial(_tell, table, first, last)),
                )
            )
        for name, values in _fold(parts, len(cohort.stays))._asdict().items():
            kept(finished[name], lambda to, v=values: np.save(to, v))  # type: ignore[misc]
    report("first days", 1.0)
    return Day(**{name: np.load(file, mmap_mode="r") for name, file in finished.items()})


def _tell(table: str, first: float, last: float, share: float) -> None:
    report(table, first + share * (last - first))


def _extract(
    folder: Path, table: str, cohort: Cohort, tell: Callable[[float], None], to: Path
) -> None:
    """One table's rows of the cohort's first days as Parquet: stay, concept, item, minute, value.

    A row stored after the first 24 hours was not known within them, and is left out.
    """
    import polars as pl

    file, layout = need(folder, table), TABLES[table]
    broken = True
    with suppress(pl.exceptions.PolarsError, OSError, EOFError, zlib.error):
        # Not chained: polars quotes the cell that it could not read.
        rows = scan(file, layout)
        sink(rows, lambda r: first_rows(r, table, cohort), file=file, to=to, tell=tell)
        torn = pl.scan_parquet(to).filter(pl.col("item").is_null() | pl.col("value").is_null())
        broken = torn.select(pl.len()).collect().item() > 0
    if broken:
        raise blame(file, layout)


def first_rows(rows: "pl.LazyFrame", table: str, cohort: Cohort) -> "pl.LazyFrame":
    """The query of ``_extract``: rows of an event table in, rows of the cohort's first days out.

    Columns: stay int32 (its place in the cohort), concept uint8, item int32, minute int16 (after
    the stay began), value float64 in the concept's unit, plausible bool.
    """
    import polars as pl

    value = "value" if table == "icu/outputevents" else "valuenum"
    key = "subject_id" if table == "hosp/labevents" else "stay_id"
    items = pl.DataFrame(
        [
            (item, number, *scaled.get(item, (1.0, 0.0)), concept.low, concept.high)
            for number, concept in enumerate(CONCEPTS)
            if concept.table == table
            for scaled in [{i: (f, a) for i, f, a in concept.scale}]
            for item in concept.items
        ],
        schema={
            "itemid": pl.Int32,
            "concept": pl.UInt8,
            "factor": pl.Float64,
            "added": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
        },
        orient="row",
    )
    stays = cohort.stays.select(
        pl.col(key),
        pl.col("intime").dt.epoch("s").alias("start"),
        pl.int_range(pl.len(), dtype=pl.Int32).alias("stay"),
    )
    wanted = items["itemid"].to_list()
    torn = pl.col("itemid").is_null()  # polars pads a torn row with nulls
    rows = rows.filter(pl.col("itemid").is_in(wanted) | torn).filter(
        torn | (pl.col(value).is_not_null() & pl.col(key).is_not_null())
    )
    if table == "icu/chartevents":
        tube = (pl.col("itemid") == VERBAL) & pl.col("value").eq_missing(INTUBATED)
        rows = rows.filter(torn | ~tube)
    seconds = pl.col("charttime").str.to_datetime(TIME, strict=True).dt.epoch("s")
    stored = pl.col("storetime").str.to_datetime(TIME, strict=True).dt.epoch("s")
    end = pl.col("start") + HOURS * 3600
    begin = pl.col("start") - (0 if table == "icu/outputevents" else BEFORE * 3600)
    joined = rows.join(stays.lazy(), on=key, how="left").filter(torn | pl.col("stay").is_not_null())
    timed = joined.with_columns(seconds.alias("time"), stored.alias("stored")).filter(
        torn
        | (
            (pl.col("time") >= begin)
            & (pl.col("time") < end)
            & (pl.col("stored").is_null() | (pl.col("stored") <= end))
        )
    )
    fraction = (pl.col("itemid") == 223835) & (pl.col("number") > 0) & (pl.col("number") <= 1)
    return (
        timed.join(items.lazy(), on="itemid", how="left")
        .with_columns(number=pl.col(value) * pl.col("factor") + pl.col("added"))
        .with_columns(
            # oxygen is written as a share of one now and then
            number=pl.when(fraction).then(pl.col("number") * 100).otherwise(pl.col("number"))
        )
        .select(
            "stay",
            "concept",
            pl.col("itemid").alias("item"),
            ((pl.col("time") - pl.col("start")) // 60).cast(pl.Int16).alias("minute"),
            pl.col("number").alias("value"),
            pl.col("number").is_between(pl.col("low"), pl.col("high")).alias("plausible"),
        )
    )


def _fold(parts: list[Path], stays: int) -> Day:
    """The extracted rows as arrays, a few thousand stays at a time."""
    import polars as pl

    day = Day(
        table=np.full((stays, len(CONCEPTS), len(SUMMARIES)), np.nan, dtype=np.float32),
        series=np.full((stays, HOURS, len(CONCEPTS)), np.nan, dtype=np.float32),
        implausible=np.zeros(len(CONCEPTS), dtype=np.int64),
        events=np.zeros(len(CONCEPTS), dtype=np.int64),
    )
    for first in range(0, stays, _SHARD):
        report("first days", _READING + (1 - _READING) * first / stays)
        shard = pl.col("stay").is_between(first, first + _SHARD - 1)
        rows = pl.concat([pl.scan_parquet(part).filter(shard).collect() for part in parts])
        outside = rows.filter(~pl.col("plausible"))["concept"].to_numpy()
        day.implausible[:] += np.bincount(outside, minlength=len(CONCEPTS))
        rows = rows.filter(pl.col("plausible"))
        output = pl.col("concept") == URINE
        # A value that is there twice is one measurement; an output that is there twice is two.
        once = rows.filter(~output).unique(["stay", "concept", "item", "minute", "value"])
        for frame, total in ((once, False), (rows.filter(output), True)):
            day.events[:] += np.bincount(frame["concept"].to_numpy(), minlength=len(CONCEPTS))
            _place(frame, day, total=total)
    return day


def _place(rows: "pl.DataFrame", day: Day, *, total: bool) -> None:
    """Writes the summaries of ``rows`` into ``day``; ``total`` sums where others are averaged."""
    import polars as pl

    grains = (pl.col("value") * _GRAIN).round().cast(pl.Int64)
    summed = pl.col("grains").sum() / _GRAIN
    average = summed if total else summed / pl.len()
    whole = rows.with_columns(grains=grains)
    moments = (  # two devices at one time are one measurement, their mean
        whole.group_by("stay", "concept", "minute").agg(value=average).with_columns(grains=grains)
    )
    if total:
        daily = moments.group_by("stay", "concept").agg(summed.alias(name) for name in SUMMARIES)
    else:
        daily = moments.group_by("stay", "concept").agg(
            min=pl.col("value").min(),
            mean=average,
            max=pl.col("value").max(),
            last=pl.col("value").sort_by("minute").last(),
        )
    stay, concept = daily["stay"].to_numpy(), daily["concept"].to_numpy()
    for place_, name in enumerate(SUMMARIES):
        day.table[stay, concept, place_] = daily[name].to_numpy()
    hour = (pl.col("minute") // 60).clip(0, HOURS - 1)
    hourly = moments.group_by("stay", "concept", hour.alias("hour")).agg(value=average)
    stay, concept = hourly["stay"].to_numpy(), hourly["concept"].to_numpy()
    day.series[stay, hourly["hour"].to_numpy(), concept] = hourly["value"].to_numpy()
